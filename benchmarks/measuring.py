"""Seconds, processor seconds and peak memory of this process and of others. Standard library only.

The programs of a single step import it, whichever Python they run in.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TICKS = os.sysconf("SC_CLK_TCK")


def request() -> dict[str, Any]:
    """What the runner asks a step for: the only argument, in JSON."""
    document: dict[str, Any] = json.loads(sys.argv[1])
    return document


def answer(**measured: object) -> None:
    """What the runner reads: the last line, in JSON."""
    print(json.dumps(measured))


def compare(tree: str, copy: str) -> None:
    """The copy is what the tree is; ends the program when it is not."""
    subprocess.run(["diff", "-rq", "--no-dereference", tree, copy], check=True)


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds on the clock and of the processors, and the most bytes held in RAM.

    The processor seconds of children that ended meanwhile are in it.
    """
    forget_peak("self")
    cpu_s, began = _own_cpu_s(), time.perf_counter()
    result = work()
    wall_s = time.perf_counter() - began
    return {"wall_s": wall_s, "cpu_s": _own_cpu_s() - cpu_s, "peak_bytes": peak("self")}, result


def timed_with_children(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """As ``timed``, and with what children used that go on; the largest of them is ``companion_bytes``."""
    before = {pid: cpu_s([pid]) for pid in children(os.getpid())}
    for pid in before:
        forget_peak(pid)
    measured, result = timed(work)
    for pid in children(os.getpid()):
        measured["cpu_s"] += cpu_s([pid]) - before.get(pid, 0.0)
        measured["companion_bytes"] = max(peak(pid), measured.get("companion_bytes", 0))
    return measured, result


def _own_cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cpu_s(pids: Iterable[int]) -> float:
    """Processor seconds of these processes so far, in the kernel's ticks."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def peak(pid: int | str) -> int:
    """The most that a process held in RAM since ``forget_peak``, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"the kernel does not say how much memory process {pid} used")


def forget_peak(pid: int | str) -> None:
    """The peak is from now on what is held now."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def children(pid: int) -> list[int]:
    """A child is listed with the thread that started it, and with another one when that thread has ended."""
    tasks = f"/proc/{pid}/task"
    while True:
        found: set[int] = set()
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/children", encoding="ascii") as file:
                    found.update(map(int, file.read().split()))
            except (FileNotFoundError, ProcessLookupError):
                if os.path.exists(f"{tasks}/{task}"):
                    raise
                break  # The thread ended meanwhile: look at all of them again.
        else:
            return sorted(found)
