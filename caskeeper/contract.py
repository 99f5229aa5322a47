"""The wire of the queue: task names, lanes, requests, results and progress as typed values <-> JSON.

Names and fields are promises (interface section 2). Other programs enqueue by name with these
keyword arguments; ``version`` may be left out and then means the present one.
"""

from __future__ import annotations

import types
import typing
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from caskeeper.errors import InvalidRequest

#: The version of the payloads this code sends. A worker also understands the one before it.
VERSION = 1

#: The lanes in the order in which one worker serves them, and their queues.
LANES = ("pull", "local", "push", "maintenance")


def queue_of(lane: str) -> str:
    """The queue of a lane."""
    return f"caskeeper.{lane}"


def _decode(hint: Any, value: object, *, where: str) -> Any:
    """``value`` from JSON as the type ``hint`` asks for. Raises InvalidRequest."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        if value is None and type(None) in args:
            return None
        return _decode(next(arg for arg in args if arg is not type(None)), value, where=where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_decode(args[0], item, where=f"{where}[{n}]") for n, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(name): _decode(args[1], item, where=f"{where}.{name}") for name, item in value.items()}
    if isinstance(hint, type):
        if issubclass(hint, Message) and isinstance(value, dict):
            return hint.from_json(value, where=where)
        if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if type(value) is hint:
            return value
    if hint is Any:
        return value
    raise InvalidRequest(f"{value!r:.100} has the wrong type", f"argument {where}", f"give {hint}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A value that travels as one JSON object."""

    def to_json(self) -> dict[str, Any]:
        """JSON-plain keyword arguments or result."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any], *, where: str = "") -> Self:
        """The value of a JSON object. Raises InvalidRequest with the argument's name."""
        place = f"{where}." if where else ""
        known = {field.name for field in fields(cls)}
        for name in document:
            if name not in known:
                raise InvalidRequest(
                    f"unknown argument {name!r}", f"{cls.__name__}", f"known are: {', '.join(sorted(known))}"
                )
        hints = typing.get_type_hints(cls)
        try:
            return cls(
                **{
                    name: _decode(hints[name], value, where=f"{place}{name}")
                    for name, value in document.items()
                }
            )
        except TypeError as missing:
            raise InvalidRequest(str(missing).partition(") ")[2] or str(missing), cls.__name__) from None


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
        CleanupRequest,
        ComputeSizeRequest,
    )
}
