"""Elements: what is built from which sources and dependencies, and the keys that name what comes out."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Recipe:
    """One element of the project. ``strong`` changes with everything below it, ``weak`` with itself alone."""

    name: str
    depends: tuple[str, ...]
    commands: tuple[str, ...]
    strong: str
    weak: str


def load(folder: str) -> tuple[str, list[Recipe]]:
    """The project's name and its elements, dependencies first."""
    with open(os.path.join(folder, "project.yaml"), encoding="utf-8") as file:
        project = yaml.safe_load(file)
    written: dict[str, dict[str, Any]] = project["elements"]
    done: dict[str, Recipe] = {}

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        if name in above:
            raise SystemExit(f"elements depend on each other: {' -> '.join((*above, name))}")
        if name in done:
            return
        element = written[name]
        depends = tuple(element.get("depends", ()))
        for below in depends:
            add(below, (*above, name))
        commands = tuple(element["commands"])
        own = {"commands": commands, "sources": _sources(folder, element.get("sources", ()))}
        strong = _key(own | {"depends": {below: done[below].strong for below in depends}})
        weak = _key(own | {"depends": list(depends)})
        done[name] = Recipe(name, depends, commands, strong, weak)

    for name in written:
        add(name)
    return str(project["name"]), list(done.values())


def below(recipe: Recipe, recipes: list[Recipe]) -> list[Recipe]:
    """Everything that an element needs, directly or not, dependencies first."""
    wanted = set(recipe.depends)
    for other in reversed(recipes):
        if other.name in wanted:
            wanted |= set(other.depends)
    return [other for other in recipes if other.name in wanted]


def _sources(folder: str, names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _key(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
