"""What each operation costs in caches of 10 thousand to 10 million objects. Run it alone on the machine.

Writes benchmarks/growth.json, its section of docs/performance.md, and docs/growth.svg, unless other sizes are
asked for. A million objects take 6 GB of a RAM disk, and minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # with -P a script finds no neighbours

from growth_page import HEADING, TITLES, plot, section
from machine import describe, room
from running import Processes, run_step, write_config

if TYPE_CHECKING:
    from growth_page import Growth

_HERE = os.path.dirname(os.path.abspath(__file__))
_SIZES = (10_000, 100_000, 1_000_000)
_SIMULATED = (10_000_000,)
#: In this order, for the last two change the cache.
_REAL = (
    *("start", "status", "list", "list one", "plan one", "plan half"),
    *("recount", "verify", "evict one", "evict half"),
)
_WITHOUT_OBJECTS = ("start", "status", "list", "list one", "plan one", "plan half", "evict one")
#: A page and an inode.
_OBJECT_BYTES = 6 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=_numbers, default=_SIZES, metavar="10000,100000")
    parser.add_argument("--simulated", type=_numbers, default=_SIMULATED, metavar="10000000")
    asked = parser.parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that everything is taken away again
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    needed = max([*asked.sizes, *(size // 20 for size in asked.simulated)]) * _OBJECT_BYTES
    base = tempfile.mkdtemp(prefix="ck-growth-", dir=room(needed))
    growth: Growth = {}
    try:
        machine = describe(base)
        for size in sorted({*asked.sizes, *asked.simulated}):
            growth[size] = _measure(base, size, simulated=size in asked.simulated)
    finally:
        shutil.rmtree(base)
    text = section(growth, asked.simulated, machine)
    print(text)
    if (tuple(asked.sizes), tuple(asked.simulated)) == (_SIZES, _SIMULATED):
        _write(growth, asked.simulated, machine, text)
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _measure(base: str, size: int, *, simulated: bool) -> dict[str, dict[str, Any]]:
    folder = f"{base}/{size}"
    os.makedirs(folder)
    with Processes() as processes:
        _, url = processes.redis(folder)
        config = write_config(f"{folder}/cache.yaml", cachedir=f"{folder}/cache", redis=url, roots=[folder])

        def step(operation: str, **more: object) -> dict[str, Any]:
            print(f"{size:,} objects: {operation}", file=sys.stderr, flush=True)
            return run_step(
                sys.executable, "growth_step.py", {"operation": operation, "config": config, **more}
            )

        step("fill", objects=size, simulated=simulated)
        step("recount")  # so that Redis knows what was written past it
        found = {operation: step(operation) for operation in (_WITHOUT_OBJECTS if simulated else _REAL)}
    shutil.rmtree(folder)
    return {operation: found[operation] for operation in TITLES if operation in found}


def _write(growth: Growth, simulated: tuple[int, ...], machine: dict[str, Any], text: str) -> None:
    document = {"machine": machine, "simulated": simulated, "objects": growth}
    for path, content in (
        (f"{_HERE}/growth.json", json.dumps(document, indent=1) + "\n"),
        (f"{os.path.dirname(_HERE)}/docs/growth.svg", plot(growth)),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    _put_into(f"{os.path.dirname(_HERE)}/docs/performance.md", text)


def _put_into(page: str, text: str) -> None:
    """In the place of the section of before; it is the page's last one."""
    if not os.path.exists(page):
        return  # run.py takes it over
    with open(page, encoding="utf-8") as file:
        before = file.read().partition(f"\n{HEADING}\n")[0].rstrip()
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}\n\n{text.rstrip()}\n")


if __name__ == "__main__":
    sys.exit(main())
