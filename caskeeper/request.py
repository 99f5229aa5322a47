"""What every request has in common: its task, its lane, its result, and the version of its payload.

Take the names from ``caskeeper.contract``, which has the requests.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from caskeeper.errors import InvalidRequest
from caskeeper.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    #: Whoever asks for the same while it runs may have its result; else only that of one not yet begun.
    JOINABLE: ClassVar[bool] = False

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

    def joinable(self) -> bool:
        """Whether others may join this very request while it runs."""
        return self.JOINABLE

    def covers(self) -> Iterator[Self]:
        """Other requests whose result does for this one as well, the nearest first."""
        return iter(())

    def flight(self) -> str:
        """The name of the operation: the same for everybody who asks for the same, in whichever version."""
        document = {name: value for name, value in self.to_json().items() if name != "version"}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return f"{self.TASK}:{hashlib.sha256(text.encode()).hexdigest()}"
