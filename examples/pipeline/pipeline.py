"""A small build tool on caskeeper: pull what somebody has built, build the rest, share it.

pipeline.py [--strict] [--push] [PROJECT-FOLDER] builds every element of project.yaml into build/.

An artifact has two names: its strong key (sources, commands, and everything below it) and its weak key
(sources and commands alone). Unless --strict, one with the right weak key will do where the strong one is not
to be had: a changed dependency does not rebuild what stands on it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

from elements import Recipe, below, load

from caskeeper import Client, Element, Ref, errors

if TYPE_CHECKING:
    from caskeeper import Job, Session


class Cache:
    """The cache as a help: whatever is wrong with it is said, and counts as a miss.

    Once Redis is away nothing more is asked: each question would wait for it again.
    """

    def __init__(self, project: str, client: Client, session: Session, *, strict: bool) -> None:
        self._project = project
        self._client = client
        self._session = session
        self._strict = strict
        self._pulls: dict[str, list[tuple[Ref, Job[object]]]] = {}
        self._away = False

    def ask_for(self, recipes: list[Recipe]) -> None:
        """Protect all of them, and have every one pulled: the workers do that side by side."""
        try:
            # Both keys: what is built under either one while this runs is protected as well.
            self._session.require(*(self._element(recipe) for recipe in recipes))
            for recipe in recipes:
                self._pulls[recipe.name] = [(ref, self._client.pull(ref)) for ref in self._refs(recipe)]
        except errors.CaskeeperError as trouble:
            self._say(trouble)

    def fetch(self, recipe: Recipe, folder: str) -> Ref | None:
        """Put an artifact into ``folder``; the ref it came by, or None: it has to be built."""
        for ref, pull in self._pulls.get(recipe.name, ()):
            if self._away:
                break
            try:
                pull.result(600)
                self._client.extract(ref, destination=folder).result(600)
            except (errors.ArtifactNotFound, errors.ConfigInvalid):
                continue  # nobody has it; ConfigInvalid: nor is there a remote that could
            except errors.CaskeeperError as trouble:
                self._say(trouble)
                continue
            return ref
        return None

    def share(self, recipe: Recipe, folder: str, *, push: bool) -> None:
        """Commit what was built under both keys, and offer it to the remotes. A build does not fail on it."""
        if self._away:
            return
        try:
            refs = self._element(recipe).refs
            self._client.commit(folder, *refs).result(600)
            if push:
                self._client.push(*refs).result(600)
        except errors.CaskeeperError as trouble:
            self._say(trouble, f"{recipe.name} is not shared: ")

    def _say(self, trouble: errors.CaskeeperError, what: str = "") -> None:
        self._away = isinstance(trouble, errors.CoordinatorUnavailable)
        rest = "; building on without it" if self._away else ""
        print(f"cache: {what}{trouble}{rest}", file=sys.stderr)

    def _element(self, recipe: Recipe) -> Element:
        return Element(self._project, f"{recipe.name}.bst", recipe.strong, recipe.weak)

    def _refs(self, recipe: Recipe) -> tuple[Ref, ...]:
        refs = self._element(recipe).refs
        return refs[:1] if self._strict else refs


def build(recipe: Recipe, recipes: list[Recipe], *, project: str, out: str) -> None:
    """Run the commands in a copy of the sources, with everything below at $DEPS, into $OUT."""
    with tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
        sources, deps = f"{scratch}/sources", f"{scratch}/deps"
        shutil.copytree(project, sources, ignore=shutil.ignore_patterns("build"))
        os.mkdir(deps)
        for other in below(recipe, recipes):
            shutil.copytree(os.path.join(project, "build", other.name), f"{deps}/{other.name}")
        for command in recipe.commands:
            environment = {**os.environ, "OUT": out, "DEPS": deps}
            subprocess.run(["sh", "-ec", command], cwd=sources, env=environment, check=True)


def main() -> None:
    """Every element, dependencies first; one line each."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("project", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    words.add_argument("--strict", action="store_true", help="only what was built from exactly this")
    words.add_argument("--push", action="store_true", help="offer what is built to the remotes")
    chosen = words.parse_args()
    project = os.path.abspath(chosen.project)
    name, recipes = load(project)
    shutil.rmtree(os.path.join(project, "build"), ignore_errors=True)
    os.mkdir(os.path.join(project, "build"))
    with ExitStack() as stack:
        cache = None
        try:
            client = stack.enter_context(Client())
            session = stack.enter_context(client.session(label=f"pipeline {name}"))
            cache = Cache(name, client, session, strict=chosen.strict)
            cache.ask_for(recipes)
        except errors.CaskeeperError as trouble:
            print(f"cache: building without it: {trouble}", file=sys.stderr)
        for recipe in recipes:
            out = os.path.join(project, "build", recipe.name)
            ref = cache.fetch(recipe, out) if cache else None
            if ref is None:
                shutil.rmtree(out, ignore_errors=True)
                build(recipe, recipes, project=project, out=out)
                if cache:
                    cache.share(recipe, out, push=chosen.push)
            how = "built" if ref is None else "strong key" if ref.key == recipe.strong else "weak key"
            print(f"{recipe.name}: {how}", flush=True)


if __name__ == "__main__":
    main()
