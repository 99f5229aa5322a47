"""Pull and push: requests and results.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from caskeeper.message import Message
from caskeeper.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True, slots=True)
class PullResult(Message):
    """``pulled``: something was fetched (AC-69). ``cached``: it was complete here already."""

    pulled: bool
    cached: bool
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequest(Request):
    """Bring an artifact here. ``remotes``: configured urls or remote strings; None = all of the project."""

    TASK: ClassVar = "artifacts.pull"
    LANE: ClassVar = "pull"
    RESULT: ClassVar = PullResult
    JOINABLE: ClassVar = True

    ref: str
    subdir: str | None = None
    excluded_subdirs: tuple[str, ...] = ()
    remotes: tuple[str, ...] | None = None
    refresh: bool = False

    def subject(self) -> str:
        return self.ref

    def joinable(self) -> bool:
        """One that asks the remotes anew wants what they have now."""
        return self.JOINABLE and not self.refresh

    def covers(self) -> Iterator[Self]:
        """The whole artifact, from the same remotes."""
        if self.subdir is not None or self.excluded_subdirs:
            yield replace(self, subdir=None, excluded_subdirs=())


@dataclass(frozen=True, kw_only=True, slots=True)
class PushOutcome(Message):
    """One remote's part of a push. ``outcome``: pushed, already-there, full or failed."""

    url: str
    outcome: str
    blobs: int = 0
    bytes: int = 0
    reason: str = ""
    retry: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PushResult(Message):
    """``pushed``: at least one remote was updated (AC-62)."""

    pushed: bool
    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushRequest(Request):
    """Offer refs to every push remote of their project; several refs of one tree travel once."""

    TASK: ClassVar = "artifacts.push"
    LANE: ClassVar = "push"
    RESULT: ClassVar = PushResult

    refs: tuple[str, ...]
    remotes: tuple[str, ...] | None = None

    def subject(self) -> str:
        return self.refs[0] if self.refs else ""
