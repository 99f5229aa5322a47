"""A page of figures that many tests fill: each leaves its part, and all are shown together at the end."""

from __future__ import annotations

import json
import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """``variable`` names the folder of the parts in the environment; ``sections`` come in their order.

    ``head`` is what the page begins with. A section's words stand before its figures.
    """

    variable: str
    head: str
    sections: Mapping[str, str]

    def record(self, section: str, data: Mapping[str, object]) -> None:
        """Add figures to a section; nothing is done where the environment names no folder.

        ``data`` is one of: name -> figure; name -> {column: figure}; title -> one of these. What is
        recorded again under the same name replaces what was there.
        """
        if section not in self.sections:
            raise ValueError(f"no section {section!r}: one of {', '.join(self.sections)}")
        folder = os.environ.get(self.variable)
        if not folder:
            return
        os.makedirs(folder, exist_ok=True)
        part = {"section": section, "data": data}
        path = f"{folder}/{uuid.uuid4().hex}"
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(part, file)
        os.rename(f"{path}.part", f"{path}.json")

    def render(self, folder: str) -> str:
        """The whole page. The same figures on the same machine make the same text."""
        found = recorded(folder)
        parts = [self.head, f"Machine: {machine()}.\n"]
        for section, words in self.sections.items():
            parts.append(f"## {section.capitalize()}\n\n{words}\n")
            parts.append(_tables(found[section]) if section in found else "Not run.\n")
        return "\n".join(parts)


def recorded(folder: str) -> dict[str, dict[str, object]]:
    """All figures by section, in the order in which they were recorded."""
    paths = [entry.path for entry in os.scandir(folder) if entry.name.endswith(".json")]
    found: dict[str, dict[str, object]] = {}
    for path in sorted(paths, key=lambda path: os.stat(path).st_mtime_ns):
        with open(path, encoding="utf-8") as file:
            part = json.load(file)
        _merge(found.setdefault(part["section"], {}), part["data"])
    return found


def _merge(into: dict[str, object], data: Mapping[str, object]) -> None:
    for name, value in data.items():
        there = into.get(name)
        if isinstance(there, dict) and isinstance(value, Mapping):
            _merge(there, value)
        else:
            into[name] = value


def machine() -> str:
    """Its kind, without names."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{os.cpu_count()} cores, {pages / 2**30:.0f} GiB of memory, {platform.system()} {kernel},"
        f" Python {platform.python_version()}"
    )


def _tables(data: Mapping[str, object]) -> str:
    """One table; or, where one of the rows is a table itself, each under its title."""
    wide = any(_depth(value) > 1 for value in data.values())
    titled = {name: value for name, value in data.items() if wide and isinstance(value, Mapping)}
    plain = {name: value for name, value in data.items() if name not in titled}
    parts = [_table(plain)] if plain else []
    parts += [f"### {title}\n\n{_tables(value)}" for title, value in titled.items()]
    return "\n".join(parts)


def _depth(value: object) -> int:
    if not isinstance(value, Mapping):
        return 0
    return 1 + max(map(_depth, value.values()), default=0)


def _table(rows: Mapping[str, object]) -> str:
    cells = {name: value if isinstance(value, Mapping) else {"": value} for name, value in rows.items()}
    columns = list(dict.fromkeys(column for values in cells.values() for column in values))
    numbers = {
        column: all(isinstance(values.get(column, 0), int | float) for values in cells.values())
        for column in columns
    }
    lines = [
        f"| | {' | '.join(columns)} |",
        f"|---|{'|'.join('--:' if numbers[column] else '---' for column in columns)}|",
    ]
    for name, values in cells.items():
        shown = (_cell(values.get(column, "")) for column in columns)
        lines.append(f"| {_cell(name)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
