"""What `import` asks and answers.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caskeeper.message import Message
from caskeeper.request import Request


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
