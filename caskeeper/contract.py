"""The wire of the queue: task names, lanes, requests, results and progress as typed values <-> JSON.

Names and fields are promises (interface section 2). Other programs enqueue by name with these
keyword arguments; ``version`` may be left out and then means the present one.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import ClassVar, Self

from caskeeper.errors import InvalidRequest
from caskeeper.message import Message as Message  # noqa: PLC0414 -- it is part of the contract

#: The version of the payloads this code sends. A worker also understands the one before it.
VERSION = 1

#: What a job of ``artifacts.push_message`` may carry: it travels through Redis, and whole.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

#: The lanes in the order in which one worker serves them, and their queues.
LANES = ("pull", "local", "push", "maintenance")


def queue_of(lane: str) -> str:
    """The queue of a lane."""
    return f"caskeeper.{lane}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Message):
    """How far a job is. Totals are 0 while they are unknown; ``present`` was already there."""

    phase: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    done_objects: int = 0
    total_objects: int = 0
    present_bytes: int = 0
    present_objects: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PullResult(Message):
    """``pulled``: something was fetched (AC-69). ``cached``: it was complete here already."""

    pulled: bool
    cached: bool
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitResult(Message):
    """``root`` is HASH/SIZE; ``size_bytes`` and ``files`` of the tree, ``added_bytes`` on the disk."""

    root: str
    size_bytes: int
    files: int
    added_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractResult(Message):
    """``path`` is the artifact's folder, never the sub-directory (AC-55)."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkResult(Message):
    """Nothing to say beyond success."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveResult(Message):
    """``freed_bytes`` on the disk; ``removed`` are the refs that are gone now."""

    freed_bytes: int
    removed: tuple[str, ...] = ()


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
class PullTreeResult(Message):
    """``digest`` of the root Directory as HASH/SIZE; None = every remote answered, none has the Tree."""

    digest: str | None
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PushDirectoryResult(Message):
    """What became of it at every push remote."""

    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushMessageResult(Message):
    """``digest`` of the message as HASH/SIZE, and what became of it at every push remote."""

    digest: str
    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupGroup(Message):
    """All refs of one tree: what happens to them and why. ``action``: evict, protected, young, kept."""

    root: str
    refs: tuple[str, ...]
    action: str
    reason: str = ""
    frees_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupResult(Message):
    """The plan and what was done of it. Sizes in bytes on the disk.

    ``young_objects`` were to go and stay: an operation that may still run has touched them.
    """

    dry_run: bool
    used_before_bytes: int
    used_after_bytes: int
    target_bytes: int
    freed_bytes: int = 0
    evicted_refs: int = 0
    recovered_objects: int = 0
    reaped_operations: int = 0
    young_objects: int = 0
    groups: tuple[CleanupGroup, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeResult(Message):
    """``used_bytes`` as recounted, ``estimate_bytes`` as it was believed before."""

    used_bytes: int
    estimate_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkChange(Message):
    """A symbolic link and its targets; None = no link is there."""

    path: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeChange(Message):
    """A file of both sides; whether it is executable on the second."""

    path: str
    executable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeChange(Message):
    """A path of both sides that is another kind of thing: file, symlink or directory."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffResult(Message):
    """AC-60: regular files in ``modified``, ``removed``, ``added``; D-28: the rest in lists of its own.

    ``not_compared``: folders that differ, or are on one side only, and were left out when they were pulled.
    """

    modified: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    symlinks: tuple[LinkChange, ...] = ()
    modes: tuple[ModeChange, ...] = ()
    types: tuple[TypeChange, ...] = ()
    folders_removed: tuple[str, ...] = ()
    folders_added: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedRef(Message):
    """One ref of an import. ``outcome``: imported, present, kept (names another tree here) or damaged."""

    ref: str
    outcome: str
    reason: str = ""
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult(Message):
    """What an import took over, or would; ``blobs`` and ``bytes`` of content that was not here."""

    dry_run: bool
    artifacts: tuple[ImportedRef, ...] = ()
    blobs: int = 0
    bytes: int = 0


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
        """Some remote can be pulled from, or some of this project's (AC-23)."""
        return any(remote.fetch for remote in self._of(project))

    def has_push_remotes(self, project: str | None = None) -> bool:
        """Some remote takes pushes, or some of this project's (AC-24)."""
        return any(remote.push for remote in self._of(project))

    def _of(self, project: str | None) -> tuple[RemoteHealth, ...]:
        if project is None:
            return self.remotes
        named = {name for remote in self.remotes for name in remote.projects}
        user = project if project in named else OTHER_PROJECTS
        return tuple(remote for remote in self.remotes if user in remote.projects)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Message):
    """The keyword arguments of one task."""

    TASK: ClassVar[str]
    LANE: ClassVar[str]
    RESULT: ClassVar[type[Message]]

    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version not in {VERSION, VERSION - 1}:
            raise InvalidRequest(
                f"payload version {self.version} is not understood",
                f"task {self.TASK}",
                f"this worker speaks version {VERSION}: upgrade the older side",
            )

    def subject(self) -> str:
        """What the job is about, short, for logs and listings."""
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequest(Request):
    """Bring an artifact here. ``remotes``: configured urls or remote strings; None = all of the project."""

    TASK: ClassVar = "artifacts.pull"
    LANE: ClassVar = "pull"
    RESULT: ClassVar = PullResult

    ref: str
    subdir: str | None = None
    excluded_subdirs: tuple[str, ...] = ()
    remotes: tuple[str, ...] | None = None
    refresh: bool = False

    def subject(self) -> str:
        return self.ref


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
class CleanupRequest(Request):
    """Evict until ``target_bytes`` (None: the low watermark). ``dry_run`` only plans."""

    TASK: ClassVar = "cache.cleanup"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = CleanupResult

    target_bytes: int | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeRequest(Request):
    """Recount the volume and set the estimate to the truth."""

    TASK: ClassVar = "cache.compute_size"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = ComputeSizeResult


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
    )
}
