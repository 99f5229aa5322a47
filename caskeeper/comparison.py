"""What `diff` asks and answers.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caskeeper.message import Message
from caskeeper.request import Request


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
