"""What a run has measured, as results.json keeps it: the page is written from it, and a run continued."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contestants import Sample
from rounds import Measured
from small_jobs import Jobs, Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads import Workload


@dataclass
class Kept:
    """One run: the machine, the command, the code it ran on, peers that were not there, what was measured.

    ``continued`` has, for each time that the run was ended and taken up again, how far it had come.
    """

    machine: dict[str, Any]
    command: str
    code: str
    left_out: list[str]
    results: list[Measured] = field(default_factory=list)
    jobs: Jobs | None = None
    continued: list[str] = field(default_factory=list)


def read(path: str, workloads: Sequence[Workload]) -> Kept:
    """The run that ``path`` holds. OSError, KeyError and ValueError for what is none of these workloads."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    by_name = {workload.name: workload for workload in workloads}
    return Kept(
        machine=document["machine"],
        command=document["command"],
        code=document["code"],
        left_out=document["left_out"],
        results=[_measured(found, by_name[found["name"]]) for found in document["workloads"]],
        jobs=_jobs(document["jobs"]) if document["jobs"] else None,
        continued=document["continued"],
    )


def write(path: str, run: Kept) -> None:
    """As a whole: a process that ends meanwhile leaves what was there."""
    document = {
        "machine": run.machine,
        "command": run.command,
        "code": run.code,
        "continued": run.continued,
        "left_out": run.left_out,
        "workloads": [_as_json(measured) for measured in run.results],
        "jobs": run.jobs.to_json() if run.jobs else None,
    }
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=1) + "\n")
    os.replace(f"{path}.new", path)


def _measured(found: dict[str, Any], workload: Workload) -> Measured:
    measured = Measured(workload, found["files"], found["bytes"])
    for operation, samples in found["samples"].items():
        for who, rounds in samples.items():
            for one in rounds:
                measured.add(operation, who, Sample(one["wall_s"], one["cpu_s"], one["peak_bytes"]))
    return measured


def _jobs(found: dict[str, Any]) -> Jobs:
    return Jobs(
        [_rates(one) for one in found["rates"]], [(queue, alone) for queue, alone in found["trip_ms"]]
    )


def _rates(found: dict[str, Any]) -> Rates:
    samples = {int(children): verbs for children, verbs in found["samples"].items()}
    return Rates(found["name"], found["title"], samples)


def _as_json(measured: Measured) -> dict[str, Any]:
    return {
        "name": measured.workload.name,
        "tree": measured.workload.title,
        "files": measured.files,
        "bytes": measured.size_bytes,
        "samples": {
            operation: {
                who: [{"wall_s": one.wall_s, "cpu_s": one.cpu_s, "peak_bytes": one.peaks} for one in samples]
                for who, samples in found.items()
            }
            for operation, found in measured.samples.items()
        },
    }
