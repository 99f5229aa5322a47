"""Many small artifacts as jobs of a worker: how many a second with one child and with two; a round trip."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from contestants import Ours
from whole_path import ThroughQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workloads import Workload

    from caskeeper.job import Job

VERBS = ("commit", "push", "pull")
_TRIPS = 100
_REF = "bench/found/key"
_MS = 1000
#: Verb -> what two children reach at least, of what one does, on J80. The server shares the cores.
SCALING = {"commit": 1.6, "pull": 1.3}
ROUND_TRIP_MS = 10.0


@dataclass
class Rates:
    """Jobs a second by number of children and verb, one of each round."""

    name: str
    title: str
    samples: dict[int, dict[str, list[float]]] = field(default_factory=dict)

    def median(self, children: int, verb: str) -> float:
        return statistics.median(self.samples[children][verb])

    def scaling(self, verb: str) -> float:
        """What two children do of what one does: the median of the ratios within a round."""
        pairs = zip(self.samples[2][verb], self.samples[1][verb], strict=True)
        return statistics.median(two / one for two, one in pairs)


@dataclass
class Jobs:
    """All of it; ``trip_ms`` are medians of a pull of what is there: by the queue, and in process."""

    rates: list[Rates] = field(default_factory=list)
    trip_ms: list[tuple[float, float]] = field(default_factory=list)

    @property
    def above_ms(self) -> float:
        """What the queue adds to the operation."""
        return statistics.median(queue - alone for queue, alone in self.trip_ms)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_jobs(
    workloads: Sequence[Workload], *, folder: str, rounds: int, say: Callable[[str], None]
) -> Jobs:
    jobs = Jobs()
    for workload in workloads:
        tree = f"{folder}/{workload.name}"
        workload.write(tree)
        rates = Rates(workload.name, workload.title)
        jobs.rates.append(rates)
        for number in range(rounds):
            say(f"{workload.name}: round {number + 1} of {rounds}")
            for children in (1, 2) if number % 2 == 0 else (2, 1):
                found = _run(tree, f"{folder}/fleet", children)
                for verb, rate in found.items():
                    rates.samples.setdefault(children, {}).setdefault(verb, []).append(rate)
    for number in range(rounds):
        say(f"round trip: round {number + 1} of {rounds}")
        jobs.trip_ms.append(_trip(f"{folder}/{workloads[0].name}", f"{folder}/fleet"))
    return jobs


def _run(tree: str, folder: str, children: int) -> dict[str, float]:
    """Jobs a second of each verb, all sent at once; every result is waited for."""
    fleet = ThroughQueue(folder, children=children)
    fleet.start()
    try:
        refs = {name: f"bench/{name}/key" for name in sorted(os.listdir(tree))}
        client = fleet.client
        found = {
            "commit": _rate([lambda n=n, r=r: client.commit(f"{tree}/{n}", r) for n, r in refs.items()]),
            "push": _rate([lambda r=r: client.push(r) for r in refs.values()]),
        }
        fleet.forget()
        client = fleet.client
        return {**found, "pull": _rate([lambda r=r: client.pull(r) for r in refs.values()])}
    finally:
        fleet.stop()


def _rate(sends: Sequence[Callable[[], Job[Any]]]) -> float:
    began = time.perf_counter()
    for job in [send() for send in sends]:
        job.result()
    return len(sends) / (time.perf_counter() - began)


def _trip(tree: str, folder: str) -> tuple[float, float]:
    """Milliseconds of one pull of what is there, half of them take less: by the queue, and in process."""
    name = min(os.listdir(tree))
    fleet = ThroughQueue(folder)
    fleet.start()
    try:
        fleet.client.commit(f"{tree}/{name}", _REF).result()
        seconds = []
        for _ in range(_TRIPS):
            began = time.perf_counter()
            fleet.client.pull(_REF).result()
            seconds.append(time.perf_counter() - began)
        alone = Ours.step(fleet, "found", tree=tree, ref=_REF)["result"]["part_s"]
        return statistics.median(seconds) * _MS, alone * _MS
    finally:
        fleet.stop()


def job_lines(jobs: Jobs) -> list[str]:
    """The section of the page."""
    lines = [
        "## Many small artifacts, and the round trip",
        "",
        "Jobs a second through the queue, all sent at once by one client that waits for every result; the",
        "worker has one child or two, the server is on the same two cores.",
        "",
        "| artifacts | verb | 1 child | 2 children | 2 : 1 | target | |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for rates in jobs.rates:
        for verb in VERBS:
            bound = SCALING.get(verb, 0.0) if rates.name == "J80" else 0.0
            scaling = rates.scaling(verb)
            cells = f"{rates.median(1, verb):,.0f} | {rates.median(2, verb):,.0f} | {scaling:.2f}"
            lines.append(f"| {rates.title} | {verb} | {cells} | {_verdict(scaling, bound)} |")
    kept = (
        "met" if jobs.above_ms <= ROUND_TRIP_MS else f"**missed** by {jobs.above_ms / ROUND_TRIP_MS - 1:.1%}"
    )
    queue, alone = (statistics.median(one) for one in zip(*jobs.trip_ms, strict=True))
    trip = (
        f"A pull of what is there: {queue:.1f} ms by the queue, {alone:.1f} ms in process, by median; "
        f"{jobs.above_ms:.1f} ms above the operation (target ≤ {ROUND_TRIP_MS:g} ms: {kept})."
    )
    return [*lines, "", trip]


def _verdict(scaling: float, bound: float) -> str:
    if not bound:
        return " | "
    return f"≥ {bound:g} times one | " + (
        "met" if scaling >= bound else f"**missed** by {1 - scaling / bound:.1%}"
    )
