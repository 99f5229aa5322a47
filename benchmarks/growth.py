"""What each operation costs in caches of 10 thousand to 10 million objects. Run it alone on the machine.

Writes benchmarks/growth.json and docs/growth.svg, unless other sizes are asked for; `run.py --page` puts them
into docs/performance.md. A million objects take 6 GB of a RAM disk, and minutes.
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

from growth_page import TITLES, plot, section
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
    print(section(growth, asked.simulated, machine))
    if (tuple(asked.sizes), tuple(asked.simulated)) == (_SIZES, _SIMULATED):
        _write(growth, asked.simulated, machine)
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


def _write(growth: Growth, simulated: tuple[int, ...], machine: dict[str, Any]) -> None:
    document = {"machine": machine, "simulated": simulated, "objects": growth}
    for path, content in (
        (f"{_HERE}/growth.json", json.dumps(document, indent=1) + "\n"),
        (f"{os.path.dirname(_HERE)}/docs/growth.svg", plot(growth)),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)


if __name__ == "__main__":
    sys.exit(main())
