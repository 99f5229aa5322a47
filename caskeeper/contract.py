"""The wire of the queue: task names, lanes, requests, results and progress as typed values <-> JSON.

Names and fields are promises (interface section 2). Other programs enqueue by name with these
keyword arguments; ``version`` may be left out and then means the present one.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from caskeeper.errors import InvalidRequest
from caskeeper.explanation import Explanation, Happening, Keeper
from caskeeper.maintenance import CleanupRequest, ComputeSizeRequest, VerifyRequest
from caskeeper.message import Message
from caskeeper.request import LANES, VERSION, Request, queue_of
from caskeeper.results import (
    OTHER_PROJECTS,
    CleanupGroup,
    CleanupHolder,
    CleanupResult,
    CommitResult,
    ComputeSizeResult,
    DiffResult,
    ExtractResult,
    Finding,
    ImportedRef,
    ImportResult,
    LinkChange,
    LinkResult,
    ModeChange,
    Progress,
    PullResult,
    PullTreeResult,
    PushDirectoryResult,
    PushMessageResult,
    PushOutcome,
    PushResult,
    RemoteHealth,
    RemotesCheckResult,
    RemoveResult,
    TypeChange,
    VerifyResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LANES",
    "MAX_MESSAGE_BYTES",
    "OTHER_PROJECTS",
    "REQUESTS",
    "VERSION",
    "CleanupGroup",
    "CleanupHolder",
    "CleanupRequest",
    "CleanupResult",
    "CommitRequest",
    "CommitResult",
    "ComputeSizeRequest",
    "ComputeSizeResult",
    "DiffRequest",
    "DiffResult",
    "ExplainRequest",
    "Explanation",
    "ExtractRequest",
    "ExtractResult",
    "Finding",
    "Happening",
    "ImportRequest",
    "ImportResult",
    "ImportedRef",
    "Keeper",
    "LinkChange",
    "LinkRequest",
    "LinkResult",
    "Message",
    "ModeChange",
    "Progress",
    "PullRequest",
    "PullResult",
    "PullTreeRequest",
    "PullTreeResult",
    "PushDirectoryRequest",
    "PushDirectoryResult",
    "PushMessageRequest",
    "PushMessageResult",
    "PushOutcome",
    "PushRequest",
    "PushResult",
    "RemoteHealth",
    "RemotesCheckRequest",
    "RemotesCheckResult",
    "RemoveRequest",
    "RemoveResult",
    "Request",
    "TypeChange",
    "VerifyRequest",
    "VerifyResult",
    "queue_of",
]

#: What a job of ``artifacts.push_message`` may carry: it travels through Redis, and whole.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


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
class CommitRequest(Request):
    """Import a folder of the worker's and bind every ref to it."""

    TASK: ClassVar = "artifacts.commit"
    LANE: ClassVar = "local"
    RESULT: ClassVar = CommitResult

    path: str
    refs: tuple[str, ...]

    def subject(self) -> str:
        return self.refs[0] if self.refs else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractRequest(Request):
    """Check out. ``destination``: a private writable copy there instead of the shared folder."""

    TASK: ClassVar = "artifacts.extract"
    LANE: ClassVar = "local"
    RESULT: ClassVar = ExtractResult

    ref: str
    subdir: str | None = None
    destination: str | None = None

    def subject(self) -> str:
        return self.ref


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkRequest(Request):
    """Bind another key of the same element to what ``ref`` names (AC-59)."""

    TASK: ClassVar = "artifacts.link"
    LANE: ClassVar = "local"
    RESULT: ClassVar = LinkResult

    ref: str
    key: str

    def subject(self) -> str:
        return self.ref


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveRequest(Request):
    """Forget refs and free what nothing else needs (AC-50)."""

    TASK: ClassVar = "artifacts.remove"
    LANE: ClassVar = "local"
    RESULT: ClassVar = RemoveResult

    refs: tuple[str, ...]

    def subject(self) -> str:
        return self.refs[0] if self.refs else ""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PullTreeRequest(Request):
    """Bring what a Tree blob names here, without a ref: garbage as soon as the job has ended (AC-75)."""

    TASK: ClassVar = "artifacts.pull_tree"
    LANE: ClassVar = "pull"
    RESULT: ClassVar = PullTreeResult
    JOINABLE: ClassVar = True

    project: str
    digest: str

    def subject(self) -> str:
        return self.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class PushDirectoryRequest(Request):
    """Send everything below a Directory that is here to every push remote; without a digest, nothing."""

    TASK: ClassVar = "artifacts.push_directory"
    LANE: ClassVar = "push"
    RESULT: ClassVar = PushDirectoryResult
    JOINABLE: ClassVar = True

    project: str
    digest: str | None

    def subject(self) -> str:
        return self.digest or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PushMessageRequest(Request):
    """Send one serialised message, given as base64, to every push remote."""

    TASK: ClassVar = "artifacts.push_message"
    LANE: ClassVar = "push"
    RESULT: ClassVar = PushMessageResult
    JOINABLE: ClassVar = True

    project: str
    message: str

    def subject(self) -> str:
        return self.project

    @classmethod
    def of(cls, project: str, message: bytes) -> Self:
        """The request to send these bytes. Raises InvalidRequest when they are too many for a job."""
        _check_size(len(message))
        return cls(project=project, message=base64.b64encode(message).decode())

    @property
    def content(self) -> bytes:
        """The message. Raises InvalidRequest for what is no base64 or too large."""
        try:
            content = base64.b64decode(self.message, validate=True)
        except ValueError:
            raise InvalidRequest(
                "it is no base64", "argument message", "encode the serialised message"
            ) from None
        _check_size(len(content))
        return content


def _check_size(message_bytes: int) -> None:
    if message_bytes > MAX_MESSAGE_BYTES:
        raise InvalidRequest(
            f"a message may have {MAX_MESSAGE_BYTES} bytes, this has {message_bytes}",
            "argument message",
            "commit it as a file and push that",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffRequest(Request):
    """Compare two artifacts, or one folder of them (AC-60)."""

    TASK: ClassVar = "artifacts.diff"
    LANE: ClassVar = "local"
    RESULT: ClassVar = DiffResult

    ref_a: str
    ref_b: str
    subdir: str | None = None

    def subject(self) -> str:
        return self.ref_a


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest(Request):
    """Take over the artifacts of a BuildStream 1.x cache folder. ``dry_run`` only looks."""

    TASK: ClassVar = "artifacts.import"
    LANE: ClassVar = "local"
    RESULT: ClassVar = ImportResult

    path: str
    dry_run: bool = False

    def subject(self) -> str:
        return self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class RemotesCheckRequest(Request):
    """Ask every configured remote, or those of one project, how it is."""

    TASK: ClassVar = "remotes.check"
    LANE: ClassVar = "local"
    RESULT: ClassVar = RemotesCheckResult

    project: str | None = None

    def subject(self) -> str:
        return self.project or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainRequest(Request):
    """Why an artifact is kept, or why and when it went. Looks only."""

    TASK: ClassVar = "cache.explain"
    LANE: ClassVar = "local"
    RESULT: ClassVar = Explanation

    ref: str

    def subject(self) -> str:
        return self.ref


#: Every request by its task name.
REQUESTS: dict[str, type[Request]] = {
    kind.TASK: kind
    for kind in (
        PullRequest,
        CommitRequest,
        ExtractRequest,
        LinkRequest,
        RemoveRequest,
        PushRequest,
        PullTreeRequest,
        PushDirectoryRequest,
        PushMessageRequest,
        DiffRequest,
        ImportRequest,
        RemotesCheckRequest,
        CleanupRequest,
        ComputeSizeRequest,
        VerifyRequest,
        ExplainRequest,
    )
}
