"""What a request is about: the part of it that healing needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CommitRequest,
    DiffRequest,
    ExtractRequest,
    ImportRequest,
    LinkRequest,
    PullRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushRequest,
)
from caskeeper.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caskeeper.contract import Request


class Subjects(NamedTuple):
    """``refs`` are read, whose ``projects`` have the remotes that may help.

    ``writes``: it brings content itself, so that a second run fills the gap that a damaged file leaves.
    """

    refs: tuple[Ref, ...] = ()
    projects: tuple[str, ...] = ()
    writes: bool = False


def subjects_of(request: Request) -> Subjects:
    """Of a request that was served; nothing for names that are none."""
    match request:
        case PullRequest(ref=ref):
            return _reading([ref])._replace(writes=True)
        case PushRequest(refs=refs):
            return _reading(refs)
        case ExtractRequest(ref=ref) | LinkRequest(ref=ref):
            return _reading([ref])
        case DiffRequest(ref_a=before, ref_b=after):
            return _reading([before, after])
        case CommitRequest(refs=refs):
            return _reading(refs)._replace(refs=(), writes=True)  # what they named before is not read
        case PullTreeRequest(project=project):
            return Subjects(projects=(project,), writes=True)
        case PushDirectoryRequest(project=project):
            return Subjects(projects=(project,))
        case ImportRequest():
            return Subjects(writes=True)
        case _:
            return Subjects()


def _reading(texts: Iterable[str]) -> Subjects:
    try:
        refs = tuple(dict.fromkeys(Ref.parse(text) for text in texts))
    except InvalidRequest:
        return Subjects()
    return Subjects(refs, tuple(dict.fromkeys(ref.project for ref in refs)))
