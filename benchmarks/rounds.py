"""Rounds: every contestant does every operation, in turn, beside the limits of the same tree."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from contestants import Contestant, Sample
    from workloads import Workload

#: In this order; after "pull" the caches of before are gone.
ORDER = (
    *("commit", "again", "push", "push again", "links", "copy", "pull"),
    *("cleanup", "plan one", "evict one"),
)
_NEEDS = {
    "again": "commit",
    "push": "commit",
    "push again": "push",
    "links": "commit",
    "copy": "commit",
    "pull": "push",
    "plan one": "cleanup",
    "evict one": "cleanup",
}
_REF, _REF_BEFORE = "bench/tree/key", "bench/before/key"


@dataclass
class Measured:
    """The samples of one workload, by operation and by who did it; one of each round."""

    workload: Workload
    files: int
    size_bytes: int
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, operation: str, who: str, sample: Sample) -> None:
        self.samples.setdefault(operation, {}).setdefault(who, []).append(sample)

    def has(self, operation: str, who: str) -> bool:
        return who in self.samples.get(operation, {})

    def wall_s(self, operation: str, who: str) -> float:
        return statistics.median(sample.wall_s for sample in self.samples[operation][who])

    def best_s(self, operation: str, who: str) -> float:
        return min(sample.wall_s for sample in self.samples[operation][who])

    def cpu_s(self, operation: str, who: str) -> float:
        return statistics.median(sample.cpu_s for sample in self.samples[operation][who])

    def ratio(self, operation: str, who: str, other: str) -> float:
        """The median of the ratios of seconds within each round."""
        found = self.samples[operation]
        rounds = zip(found[who], found[other], strict=True)
        return statistics.median(one.wall_s / two.wall_s for one, two in rounds)

    def best_ratio(self, operation: str, who: str, other: str) -> float:
        """The best of one to the best of the other."""
        return self.best_s(operation, who) / self.best_s(operation, other)

    def peaks(self, operation: str, who: str) -> dict[str, int]:
        """The most bytes that one process of each kind held in RAM in any round."""
        most: dict[str, int] = {}
        for sample in self.samples[operation][who]:
            for part, peak in sample.peaks.items():
                kind = part.rstrip(" 0123456789")  # of several children the one that had most
                most[kind] = max(peak, most.get(kind, 0))
        return most


def measure(
    measured: Measured,
    entrants: Sequence[Callable[[str], Contestant]],
    wanted: Collection[str],
    *,
    trees: dict[str, str],
    folder: str,
    rounds: int,
    say: Callable[[str], None],
) -> None:
    """All rounds of one workload. Nobody has anything left of a round when the next begins."""
    for number in range(rounds):
        say(f"{measured.workload.name}: round {number + 1} of {rounds}")
        turn = number % max(len(entrants), 1)
        order = [*entrants[turn:], *entrants[:turn]]
        groups = [[entrant] for entrant in order] if measured.workload.one_by_one else [order]
        limited: set[str] = set()
        for place, group in enumerate(groups):
            present = [entrant(f"{folder}/{place}.{index}") for index, entrant in enumerate(group)]
            _round(
                measured,
                present,
                wanted,
                trees=trees,
                folder=folder,
                limited=limited,
                compare=number == 0,  # once is enough: every round does the same
            )


def _round(
    measured: Measured,
    present: Sequence[Contestant],
    wanted: Collection[str],
    *,
    trees: dict[str, str],
    folder: str,
    limited: set[str],
    compare: bool,
) -> None:
    """The same operation by one after the other, then the next one."""
    tree = trees[measured.workload.name]
    started: list[Contestant] = []
    try:
        for contestant in present:
            contestant.start()
            started.append(contestant)
        ways = [_way(contestant, measured.workload, wanted, trees, compare=compare) for contestant in present]
        for operation in _needed(wanted, measured.workload.operations):
            if operation in wanted and operation not in limited:
                limited.add(operation)
                for name in limits.BESIDE[operation]:
                    measured.add(operation, name, limits.run(name, tree, f"{folder}/limit"))
            for contestant, way in zip(present, ways, strict=True):
                sample = way(operation)
                if sample is not None and operation in wanted and operation in contestant.measured:
                    measured.add(operation, contestant.name, sample)
    finally:
        for contestant in reversed(started):
            contestant.stop()


def _needed(wanted: Collection[str], possible: Collection[str]) -> list[str]:
    found: set[str] = set()
    for operation in wanted:
        needed: str | None = operation
        while needed is not None:
            found.add(needed)
            needed = _NEEDS.get(needed)
    return [operation for operation in ORDER if operation in found and operation in possible]


def _way(
    contestant: Contestant,
    workload: Workload,
    wanted: Collection[str],
    trees: dict[str, str],
    *,
    compare: bool,
) -> Callable[[str], Sample | None]:
    """What the contestant does of each needed operation, with what has to be there before it."""
    tree = trees[workload.name]
    is_empty = "cleanup" in _needed(wanted, workload.operations)

    def step(operation: str) -> Sample | None:
        nonlocal is_empty
        if operation not in contestant.operations:
            return None
        if is_empty:
            contestant.fill(tree)
            time.sleep(0.3)  # longer than the clock margin: nothing is young now
            is_empty = False
        if operation == "pull":
            contestant.forget()
        if workload.before is not None:
            contestant.run(operation, trees[workload.before.name], _REF_BEFORE)
        return contestant.run(operation, tree, _REF, compare=compare)

    return step


def write_trees(
    workloads: Sequence[Workload], folder: str, there: Collection[str], say: Callable[[str], None]
) -> dict[str, str]:
    """Every tree that the workloads need and that is not there yet; where it is, by name."""
    trees: dict[str, str] = {}
    for workload in workloads:
        for needed in (workload.before, workload):
            if needed is not None and needed.name not in there:
                say(f"{needed.name}: writing {needed.title}")
                trees[needed.name] = f"{folder}/{needed.name}"
                needed.write(trees[needed.name])
    return trees


def remove_trees(trees: dict[str, str], keep: Collection[str]) -> None:
    for name in [name for name in trees if name not in keep]:
        shutil.rmtree(trees.pop(name))
