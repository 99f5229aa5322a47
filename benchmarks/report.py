"""What was measured, as a table for people and as JSON for the next run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from processes import Memory

BOUND_BYTES = 150 * 2**20
_MIB, _GIB = 2**20, 2**30
_HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = f"{_HERE}/results.json"
PAGE = f"{os.path.dirname(_HERE)}/docs/performance.md"
OPERATIONS = ("commit", "push", "pull", "extract, shared", "extract, private copy")
COPIES = ("cp -a", "cp -al")


_HEAD = (
    "# Performance",
    "",
    "Written by `make bench`; do not edit. All samples are in `benchmarks/results.json`.",
)
_METHOD = (
    "One `caskeeper worker` with two children and one `caskeeper server` with a volume of its own, over",
    "loopback. Each operation is one job through the queue, from sending it to its result. Every round has",
    "new processes and empty volumes; the copies by `cp` are of the same tree in the same round. Seconds",
    "are medians, ratios are medians of the ratios within a round. CPU seconds are those of worker and",
    "server together, or of `cp`. Results are compared with the tree by `diff`, outside of the time.",
    "The machine is shared: compare ratios, not seconds.",
)


class Sample(NamedTuple):
    """One execution: seconds on the clock, and of the processors (worker and server, or `cp`)."""

    wall_s: float
    cpu_s: float


@dataclass
class Measured:
    """One workload's samples by operation, and the peaks of memory, one of each round."""

    name: str
    title: str
    files: int
    size_bytes: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)

    def add(self, operation: str, sample: Sample) -> None:
        self.samples.setdefault(operation, []).append(sample)

    def wall_s(self, operation: str) -> float:
        return statistics.median(sample.wall_s for sample in self.samples[operation])

    def best_s(self, operation: str) -> float:
        return min(sample.wall_s for sample in self.samples[operation])

    def cpu_s(self, operation: str) -> float:
        return statistics.median(sample.cpu_s for sample in self.samples[operation])

    def ratio(self, operation: str, copy: str) -> float:
        """The median of the ratios within each round."""
        rounds = zip(self.samples[operation], self.samples[copy], strict=True)
        return statistics.median(one.wall_s / other.wall_s for one, other in rounds)

    @property
    def worker_child_peak(self) -> int:
        return max(peak for memory in self.memory for peak in memory.worker_children)

    @property
    def server_peak(self) -> int:
        return max(memory.server for memory in self.memory)

    @property
    def memory_is_bounded(self) -> bool:
        return max(self.worker_child_peak, self.server_peak) <= BOUND_BYTES

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "tree": self.title,
            "files": self.files,
            "bytes": self.size_bytes,
            "seconds": {name: [sample._asdict() for sample in found] for name, found in self.samples.items()},
            "peak_memory_bytes": [memory._asdict() for memory in self.memory],
        }


def describe_machine(folder: str) -> dict[str, Any]:
    """Enough to judge the numbers, nothing that names the machine."""
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kib = int(file.readline().split()[1])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib * 1024 / _GIB, 1),
        "file_system": _file_system(folder),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _file_system(folder: str) -> str:
    """The kind of the file system that a folder lies on."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0]
    return "unknown"


def table(measured: Measured) -> list[str]:
    lines = [
        "| operation | seconds, median | best | CPU seconds | MiB/s | files/s | x `cp -a` | x `cp -al` |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in (*COPIES, *OPERATIONS):
        wall_s = measured.wall_s(name)
        cells = [
            f"`{name}`" if name in COPIES else name,
            f"{wall_s:.3f}",
            f"{measured.best_s(name):.3f}",
            f"{measured.cpu_s(name):.2f}",
            f"{measured.size_bytes / _MIB / wall_s:,.0f}",
            _short(measured.files / wall_s),
            *(_short(measured.ratio(name, copy), digits=2) for copy in COPIES),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _short(number: float, *, digits: int = 1) -> str:
    """Fractions where they say something."""
    return f"{number:,.{0 if number >= 100 else digits}f}"


def memory_table(measured: list[Measured]) -> list[str]:
    lines = ["| tree | worker child | server | bound |", "|---|--:|--:|--:|"]
    for one in measured:
        peaks = f"{one.worker_child_peak / _MIB:.0f} MiB | {one.server_peak / _MIB:.0f} MiB"
        lines.append(f"| {one.title} | {peaks} | {BOUND_BYTES // _MIB} MiB |")
    return lines


def print_table(measured: list[Measured]) -> None:
    for one in measured:
        print(f"\n{one.title}, {one.size_bytes / _MIB:,.0f} MiB\n")
        print("\n".join(table(one)))
    print("\nPeak memory (VmHWM)\n")
    print("\n".join(memory_table(measured)))
    if not all(one.memory_is_bounded for one in measured):
        print(f"\nThe bound of {BOUND_BYTES // _MIB} MiB was NOT kept.")


def write_results(machine: dict[str, Any], measured: list[Measured]) -> None:
    """results.json and docs/performance.md, both as a whole."""
    document = {"machine": machine, "workloads": [one.to_json() for one in measured]}
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=1) + "\n")
    in_memory = machine["file_system"] in {"tmpfs", "ramfs"}
    kind = "a RAM disk" if in_memory else "a disk, which is measured too"
    where = (
        f"Machine: {machine['cores']} cores, {machine['memory_gib']} GiB of memory, files on {kind} "
        f"({machine['file_system']}); Linux {machine['kernel']}, Python {machine['python']}; load average "
        f"{machine['load_before']} before the run."
    )
    lines = [*_HEAD, "", where, "", *_METHOD]
    for one in measured:
        rounds = len(one.memory)
        lines += ["", f"## {one.title}", "", f"{one.size_bytes / _MIB:,.0f} MiB; {rounds} rounds.", ""]
        lines += table(one)
    lines += [
        "",
        "## Peak memory",
        "",
        "The most that any one process held in RAM (VmHWM) over all operations of a round, worst round.",
        "",
        *memory_table(measured),
    ]
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
