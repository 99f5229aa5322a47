"""The figures of a run of all safety tests: every test leaves its part, one page shows them together.

``record`` does nothing unless CASKEEPER_SAFETY_REPORT names a folder, so any test may call it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from collections.abc import Mapping

FOLDER = "CASKEEPER_SAFETY_REPORT"

#: Each section of the page, in order, with what it says before its figures.
SECTIONS = {
    "runs": "What was run, and whether it passed.",
    "histories": (
        "Real processes under a nemesis: workers, competing cleaners, sessions, foreign clients of a\n"
        "server, a remote that lies, hangs and dies. A checker reads only what was answered and the volume."
    ),
    "interleavings": "Two or three actors over the real code, switched at every change, look and script.",
    "crash points": "A process that dies before its n-th step, for every n, and the verb run again.",
    "mutants": "Each protection removed by a patch that lives in the tests, and the test that notices.",
    "model": "The protocol as built, every interleaving within bounds.",
    "file systems": "What real file systems do, and what is refused at start.",
}

_HEAD = """\
# Safety report

Written by `make test-faults-long`; do not edit. [design.md](design.md) says what must hold, and why it does.
"""


def record(section: str, data: Mapping[str, object]) -> None:
    """Add figures to a section.

    ``data`` is one of: name -> figure; name -> {column: figure}; title -> one of these. What is recorded
    again under the same name replaces what was there.
    """
    if section not in SECTIONS:
        raise ValueError(f"no section {section!r}: one of {', '.join(SECTIONS)}")
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    os.makedirs(folder, exist_ok=True)
    part = {"section": section, "data": data}
    path = f"{folder}/{uuid.uuid4().hex}"
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(part, file)
    os.rename(f"{path}.part", f"{path}.json")


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


def render(folder: str) -> str:
    """The whole page. The same figures on the same machine make the same text."""
    found = recorded(folder)
    parts = [_HEAD, f"Machine: {machine()}.\n"]
    for section, words in SECTIONS.items():
        parts.append(f"## {section.capitalize()}\n\n{words}\n")
        parts.append(_tables(found[section]) if section in found else "Not run.\n")
    return "\n".join(parts)


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


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1]))
