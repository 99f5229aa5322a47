"""What is to be reached: each a ratio within the same rounds, a time, or a size in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from contestants import Ours
from limits import COPY, LINK
from peers import Bst1, Casd, OursIntoBst1, OursIntoCasd
from whole_path import ThroughCommand, ThroughQueue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rounds import Measured

_MIB = 2**20
CLIENT_BYTES, SERVER_BYTES = 120 * _MIB, 150 * _MIB


class Target(NamedTuple):
    """``at_least`` so many times as fast as ``other``, ``at_most`` so many times its time, or so many ms."""

    workload: str
    operation: str
    other: str = ""
    at_least: float = 0.0
    at_most: float = 0.0
    at_most_ms: float = 0.0
    who: str = Ours.name

    @property
    def text(self) -> str:
        if self.at_most_ms:
            return f"≤ {self.at_most_ms:g} ms"
        if self.at_least:
            return f"≥ {self.at_least:g} times as fast as {self.other}"
        return f"≤ {self.at_most:g} times {self.other}"


class Judged(NamedTuple):
    """A target and what came of it; ``reached`` and ``best`` in the target's own unit."""

    target: Target
    reached: float
    best: float
    is_met: bool

    @property
    def missed_by(self) -> float:
        """The share of the target that is lacking, or what is above it."""
        target = self.target
        if target.at_least:
            return 1 - self.reached / target.at_least
        return self.reached / (target.at_most or target.at_most_ms) - 1


class Peak(NamedTuple):
    """The most that one of our processes held in RAM, and what it may."""

    workload: str
    operation: str
    who: str
    part: str
    most: int
    bound: int

    @property
    def is_kept(self) -> bool:
        return self.most <= self.bound


_CASD, _BST1 = Casd.name, Bst1.name

TARGETS = (
    Target("W1", "commit", _CASD, at_least=1.6),
    Target("W1", "commit", _BST1, at_least=2.5),
    Target("W1", "commit", COPY, at_most=1.35),
    Target("W2", "commit", _CASD, at_least=1.3),
    Target("W2", "commit", COPY, at_most=1.6),
    Target("W3", "commit", _CASD, at_least=1),
    *(Target(name, "again", _CASD, at_least=2.5) for name in ("W1", "W2")),
    Target("W4", "commit", _CASD, at_least=2.5),
    *(
        Target(name, operation, other, at_least=bound)
        for operation in ("push", "pull")
        for name in ("W1", "W2", "W3")
        for other, bound in ((_CASD, 2 if (name, operation) == ("W3", "pull") else 1), (_BST1, 3))
    ),
    *(
        Target(name, operation, _CASD, at_least=1, who=OursIntoCasd.name)
        for operation in ("push", "pull")
        for name in ("W1", "W2", "W3")
    ),
    Target("W4", "push", _CASD, at_least=1),
    *(Target(name, "push again", _CASD, at_least=1) for name in ("W1", "W2")),
    Target("W4", "pull", _CASD, at_least=1),
    *(Target(name, "links", LINK, at_most=1) for name in ("W1", "W2")),
    *(Target(name, "copy", COPY, at_most=1.1) for name in ("W1", "W2", "W3")),
    Target("W5", "cleanup", _CASD, at_most=0.8),
    Target("W5", "evict one", at_most_ms=20),
    Target("W5", "plan one", at_most_ms=100),
)


def judge(results: Sequence[Measured]) -> Iterator[Judged]:
    """Every target of which both sides were measured."""
    by_name = {measured.workload.name: measured for measured in results}
    for target in TARGETS:
        measured = by_name.get(target.workload)
        if measured is None or not measured.has(target.operation, target.who):
            continue
        if target.at_most_ms:
            reached = measured.wall_s(target.operation, target.who) * 1000
            best = measured.best_s(target.operation, target.who) * 1000
            yield Judged(target, reached, best, is_met=reached <= target.at_most_ms)
        elif measured.has(target.operation, target.other):
            share = measured.ratio(target.operation, target.who, target.other)
            best = measured.best_ratio(target.operation, target.who, target.other)
            if target.at_least:
                yield Judged(target, 1 / share, 1 / best, is_met=1 / share >= target.at_least)
            else:
                yield Judged(target, share, best, is_met=share <= target.at_most)


def peaks(results: Sequence[Measured]) -> Iterator[Peak]:
    """What our processes held in RAM, of each operation."""
    bounds = (
        (Ours.name, "client", CLIENT_BYTES),
        (Ours.name, "server", SERVER_BYTES),
        (OursIntoCasd.name, "client", CLIENT_BYTES),
        (OursIntoBst1.name, "client", CLIENT_BYTES),
        (ThroughQueue.name, "child", CLIENT_BYTES),
        (ThroughCommand.name, "child", CLIENT_BYTES),
    )
    for measured in results:
        for operation in measured.samples:
            for who, part, bound in bounds:
                if measured.has(operation, who):
                    most = measured.peaks(operation, who).get(part, 0)
                    yield Peak(measured.workload.name, operation, who, part, most, bound)
