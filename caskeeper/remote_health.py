"""What a check of the remotes asks and answers.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from caskeeper.message import Message
from caskeeper.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable

#: In `RemoteHealth.projects`: every project that no remote names.
OTHER_PROJECTS = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteHealth(Message):
    """One configured remote as it answered. ``reason``: why it is not usable, or takes no pushes.

    ``protocol`` is how it is asked for names; ``latency_ms`` what the first contact took, from nothing to
    all its answers. ``push_configured``: it is meant to be pushed to. ``projects`` use it; OTHER_PROJECTS
    stands for all that have no remotes of their own. ``where`` it is configured.
    """

    url: str
    usable: bool
    fetch: bool
    push: bool
    reason: str = ""
    protocol: str = ""
    latency_ms: float | None = None
    type: str = "all"
    push_configured: bool = False
    projects: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemotesCheckResult(Message):
    """Every distinct remote once, in order of priority."""

    remotes: tuple[RemoteHealth, ...] = ()

    def has_fetch_remotes(self, project: str | None = None) -> bool:
        """Some remote can be pulled from, or some of this project's (AC-23): an index and a storage."""
        return _both_halves(remote.type for remote in self._of(project) if remote.fetch)

    def has_push_remotes(self, project: str | None = None) -> bool:
        """Some remote takes pushes, or some of this project's (AC-24): an index and a storage."""
        return _both_halves(remote.type for remote in self._of(project) if remote.push)

    def _of(self, project: str | None) -> tuple[RemoteHealth, ...]:
        if project is None:
            return self.remotes
        named = {name for remote in self.remotes for name in remote.projects}
        user = project if project in named else OTHER_PROJECTS
        return tuple(remote for remote in self.remotes if user in remote.projects)


def _both_halves(types: Iterable[str]) -> bool:
    """Servers of these types can be asked for names and for content."""
    found = set(types)
    return "all" in found or {"index", "storage"} <= found


@dataclass(frozen=True, kw_only=True, slots=True)
class RemotesCheckRequest(Request):
    """Ask every configured remote, or those of one project, how it is."""

    TASK: ClassVar = "remotes.check"
    LANE: ClassVar = "local"
    RESULT: ClassVar = RemotesCheckResult

    project: str | None = None

    def subject(self) -> str:
        return self.project or ""
