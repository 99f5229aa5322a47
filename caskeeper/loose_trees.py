"""What travels without a ref: requests and results.

Take the types from ``caskeeper.contract``, which loads each when it is used.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import ClassVar, Self

from caskeeper.errors import InvalidRequest
from caskeeper.message import Message
from caskeeper.request import Request
from caskeeper.transfers import PushOutcome  # noqa: TC001 -- decoding reads the annotations

#: What a job of ``artifacts.push_message`` may carry: it travels through Redis, and whole.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class PullTreeResult(Message):
    """``digest`` of the root Directory as HASH/SIZE; None = every remote answered, none has the Tree."""

    digest: str | None
    remote: str | None = None
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PullTreeRequest(Request):
    """Bring what a Tree blob names here, without a ref: garbage as soon as the job has ended (AC-75)."""

    TASK: ClassVar = "artifacts.pull_tree"
    LANE: ClassVar = "pull"
    RESULT: ClassVar = PullTreeResult
    JOINABLE: ClassVar = True

    project: str
    digest: str

    def subject(self) -> str:
        return self.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class PushDirectoryResult(Message):
    """What became of it at every push remote."""

    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushDirectoryRequest(Request):
    """Send everything below a Directory that is here to every push remote; without a digest, nothing."""

    TASK: ClassVar = "artifacts.push_directory"
    LANE: ClassVar = "push"
    RESULT: ClassVar = PushDirectoryResult
    JOINABLE: ClassVar = True

    project: str
    digest: str | None

    def subject(self) -> str:
        return self.digest or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PushMessageResult(Message):
    """``digest`` of the message as HASH/SIZE, and what became of it at every push remote."""

    digest: str
    remotes: tuple[PushOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PushMessageRequest(Request):
    """Send one serialised message, given as base64, to every push remote."""

    TASK: ClassVar = "artifacts.push_message"
    LANE: ClassVar = "push"
    RESULT: ClassVar = PushMessageResult
    JOINABLE: ClassVar = True

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
