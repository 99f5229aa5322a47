"""What is done on the volume alone: requests and results.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caskeeper.message import Message
from caskeeper.request import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitResult(Message):
    """``root`` is HASH/SIZE; ``size_bytes`` and ``files`` of the tree, ``added_bytes`` on the disk."""

    root: str
    size_bytes: int
    files: int
    added_bytes: int


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
class ExtractResult(Message):
    """``path`` is the artifact's folder, never the sub-directory (AC-55)."""

    path: str


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
class LinkResult(Message):
    """Nothing to say beyond success."""


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
class RemoveResult(Message):
    """``freed_bytes`` on the disk; ``removed`` are the refs that are gone now."""

    freed_bytes: int
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoveRequest(Request):
    """Forget refs and free what nothing else needs (AC-50)."""

    TASK: ClassVar = "artifacts.remove"
    LANE: ClassVar = "local"
    RESULT: ClassVar = RemoveResult

    refs: tuple[str, ...]

    def subject(self) -> str:
        return self.refs[0] if self.refs else ""
