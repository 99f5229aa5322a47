"""What every request has in common: its task, its lane, its result, and the version of its payload.

Take the names from ``caskeeper.contract``, which has the requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caskeeper.errors import InvalidRequest
from caskeeper.message import Message

#: The version of the payloads this code sends. A worker also understands the one before it.
VERSION = 1

#: The lanes in the order in which one worker serves them, and their queues.
LANES = ("pull", "local", "push", "maintenance")


def queue_of(lane: str) -> str:
    """The queue of a lane."""
    return f"caskeeper.{lane}"


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
