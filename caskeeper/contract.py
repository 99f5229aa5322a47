"""The wire of the queue: task names, lanes, requests, results and progress as typed values <-> JSON.

Names and fields are promises (interface section 2). Other programs enqueue by name with these
keyword arguments; ``version`` may be left out and then means the present one.

Each type is loaded when it is used: to make all of them takes as long as to start without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from caskeeper.message import Message
from caskeeper.request import LANES, VERSION, Request, queue_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.comparison import DiffRequest, DiffResult, LinkChange, ModeChange, TypeChange
    from caskeeper.explanation import ExplainRequest, Explanation, Happening, Keeper
    from caskeeper.local_work import (
        CommitRequest,
        CommitResult,
        ExtractRequest,
        ExtractResult,
        LinkRequest,
        LinkResult,
        RemoveRequest,
        RemoveResult,
    )
    from caskeeper.loose_trees import (
        MAX_MESSAGE_BYTES,
        PullTreeRequest,
        PullTreeResult,
        PushDirectoryRequest,
        PushDirectoryResult,
        PushMessageRequest,
        PushMessageResult,
    )
    from caskeeper.maintenance import (
        CleanupGroup,
        CleanupHolder,
        CleanupRequest,
        CleanupResult,
        ComputeSizeRequest,
        ComputeSizeResult,
        Finding,
        VerifyRequest,
        VerifyResult,
    )
    from caskeeper.progress import Progress
    from caskeeper.remote_health import OTHER_PROJECTS, RemoteHealth, RemotesCheckRequest, RemotesCheckResult
    from caskeeper.taking_over import ImportedRef, ImportRequest, ImportResult
    from caskeeper.transfers import PullRequest, PullResult, PushOutcome, PushRequest, PushResult

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
    "lane_of",
    "queue_of",
]

#: The modules of the types, which are loaded when one of them is asked for.
_HOMES = {
    "Progress": "progress",
    "PullRequest": "transfers",
    "PullResult": "transfers",
    "PushOutcome": "transfers",
    "PushRequest": "transfers",
    "PushResult": "transfers",
    "MAX_MESSAGE_BYTES": "loose_trees",
    "PullTreeRequest": "loose_trees",
    "PullTreeResult": "loose_trees",
    "PushDirectoryRequest": "loose_trees",
    "PushDirectoryResult": "loose_trees",
    "PushMessageRequest": "loose_trees",
    "PushMessageResult": "loose_trees",
    "CommitRequest": "local_work",
    "CommitResult": "local_work",
    "ExtractRequest": "local_work",
    "ExtractResult": "local_work",
    "LinkRequest": "local_work",
    "LinkResult": "local_work",
    "RemoveRequest": "local_work",
    "RemoveResult": "local_work",
    "DiffRequest": "comparison",
    "DiffResult": "comparison",
    "LinkChange": "comparison",
    "ModeChange": "comparison",
    "TypeChange": "comparison",
    "ImportRequest": "taking_over",
    "ImportResult": "taking_over",
    "ImportedRef": "taking_over",
    "OTHER_PROJECTS": "remote_health",
    "RemoteHealth": "remote_health",
    "RemotesCheckRequest": "remote_health",
    "RemotesCheckResult": "remote_health",
    "CleanupGroup": "maintenance",
    "CleanupHolder": "maintenance",
    "CleanupRequest": "maintenance",
    "CleanupResult": "maintenance",
    "ComputeSizeRequest": "maintenance",
    "ComputeSizeResult": "maintenance",
    "Finding": "maintenance",
    "VerifyRequest": "maintenance",
    "VerifyResult": "maintenance",
    "ExplainRequest": "explanation",
    "Explanation": "explanation",
    "Happening": "explanation",
    "Keeper": "explanation",
}

#: The request of each task, and its lane.
_TASKS = {
    "artifacts.pull": ("PullRequest", "pull"),
    "artifacts.commit": ("CommitRequest", "local"),
    "artifacts.extract": ("ExtractRequest", "local"),
    "artifacts.link": ("LinkRequest", "local"),
    "artifacts.remove": ("RemoveRequest", "local"),
    "artifacts.push": ("PushRequest", "push"),
    "artifacts.pull_tree": ("PullTreeRequest", "pull"),
    "artifacts.push_directory": ("PushDirectoryRequest", "push"),
    "artifacts.push_message": ("PushMessageRequest", "push"),
    "artifacts.diff": ("DiffRequest", "local"),
    "artifacts.import": ("ImportRequest", "local"),
    "remotes.check": ("RemotesCheckRequest", "local"),
    "cache.cleanup": ("CleanupRequest", "maintenance"),
    "cache.compute_size": ("ComputeSizeRequest", "maintenance"),
    "cache.verify": ("VerifyRequest", "maintenance"),
    "cache.explain": ("ExplainRequest", "local"),
}


def lane_of(task: str) -> str:
    """The lane of a task of ours, without loading its request."""
    return _TASKS[task][1]


class _Requests(Mapping[str, type[Request]]):
    """The request of each task; loaded when it is asked for."""

    def __getitem__(self, task: str) -> type[Request]:
        found: type[Request] = _load(_TASKS[task][0])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_TASKS)

    def __len__(self) -> int:
        return len(_TASKS)

    def __contains__(self, task: object) -> bool:
        return task in _TASKS


#: Every request by its task name.
REQUESTS: Mapping[str, type[Request]] = _Requests()


def _load(name: str) -> Any:
    """A name of this module's that stands in another one."""
    found = globals()[name] = getattr(import_module(f"caskeeper.{_HOMES[name]}"), name)
    return found


if not TYPE_CHECKING:  # for a type checker the names are those above, and no others

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return _load(name)


def __dir__() -> list[str]:
    return sorted(__all__)
