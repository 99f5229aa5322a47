"""How far a job is, as it travels. Take it from ``caskeeper.contract``."""

from __future__ import annotations

from dataclasses import dataclass

from caskeeper.message import Message


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
