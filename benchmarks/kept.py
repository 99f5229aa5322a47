"""What a run has kept in results.json, as it was measured: the page can be written anew from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from contestants import Sample
from rounds import Measured
from small_jobs import Jobs, Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads import Workload


class Kept(NamedTuple):
    """One run: the machine, what was measured, and the command that did it."""

    machine: dict[str, Any]
    results: list[Measured]
    jobs: Jobs
    command: str
    left_out: list[str]


def read(path: str, workloads: Sequence[Workload]) -> Kept:
    """The run that ``path`` holds. OSError, KeyError and ValueError for what is none of these workloads."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    by_name = {workload.name: workload for workload in workloads}
    jobs = document["jobs"]
    return Kept(
        document["machine"],
        [_measured(found, by_name[found["name"]]) for found in document["workloads"]],
        Jobs([_rates(found) for found in jobs["rates"]], [(one, two) for one, two in jobs["trip_ms"]]),
        document["command"],
        document["left_out"],
    )


def _measured(found: dict[str, Any], workload: Workload) -> Measured:
    measured = Measured(workload, found["files"], found["bytes"])
    for operation, samples in found["samples"].items():
        for who, rounds in samples.items():
            for one in rounds:
                measured.add(operation, who, Sample(one["wall_s"], one["cpu_s"], one["peak_bytes"]))
    return measured


def _rates(found: dict[str, Any]) -> Rates:
    samples = {int(children): verbs for children, verbs in found["samples"].items()}
    return Rates(found["name"], found["title"], samples)
