"""The two messages that carry many small blobs, read without protobuf.

As messages of protobuf every blob would be copied twice, and four objects made for it. Here its content is a
view of the message. Only what is written in the way that everybody does is read so: entries in the order
asked for, plain, without trouble. What is not is left to protobuf to read, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import Digest
from worker._protos import remote_execution_pb2 as wire
from worker.batch_messages import HASH_BYTES, OK, entry_head
from worker.stream_messages import number, varint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.rpc.status_pb2 import Status

    from worker.protocols import Piece

_HASH_AT, _HASH_CHARACTERS = 2, 64
# The constructor of a named tuple is a function in Python, and messages have thousands of digests.
_new = tuple.__new__


class BatchReadAnswer:
    """``BatchReadBlobsResponse`` as it came."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    @classmethod
    def FromString(cls, message: bytes) -> BatchReadAnswer:  # noqa: N802 -- as protobuf's messages call it
        """What stands on the wire; DecodeError comes when it is read by protobuf."""
        return cls(message)

    def contents(self, digests: Sequence[Digest]) -> dict[Digest, Piece] | None:
        """Of each blob that was asked for, none of them empty. None: see ``parsed``."""
        message, view = self._message, memoryview(self._message)
        found: dict[Digest, Piece] = {}
        at = 0
        for tail in (OK, b""):
            for digest in digests:
                head = entry_head(b"\x0a", digest, tail)
                start = at + len(head)
                end = start + digest[1]
                if not message.startswith(head, at) or not message.startswith(tail, end):
                    break
                found[digest] = view[start:end]
                at = end + len(tail)
            else:
                return found if at == len(message) and len(found) == len(digests) else None
            if found:
                break
        return None

    def parsed(self) -> wire.BatchReadBlobsResponse:
        """All that it says. DecodeError for what is no such message."""
        return wire.BatchReadBlobsResponse.FromString(self._message)


class Upload(NamedTuple):
    """``BatchUpdateBlobsRequest.Request``; what its digest says is unchecked."""

    digest: Digest
    data: Piece
    compressor: int = wire.Compressor.IDENTITY


class BatchUpdate:
    """``BatchUpdateBlobsRequest`` as it came."""

    def __init__(self, uploads: Sequence[Upload]) -> None:
        self.uploads = uploads

    @classmethod
    def FromString(cls, message: bytes) -> BatchUpdate:  # noqa: N802 -- as protobuf's messages call it
        """What stands on the wire. DecodeError for what is no such message."""
        plain = _plain_uploads(message)
        if plain is not None:
            return cls(plain)
        return cls(
            [
                Upload(Digest(asked.digest.hash, asked.digest.size_bytes), asked.data, asked.compressor)
                for asked in wire.BatchUpdateBlobsRequest.FromString(message).requests
            ]
        )

    @property
    def content_bytes(self) -> int:
        """Of content, as it is on the wire."""
        return sum([len(upload[1]) for upload in self.uploads])


def _plain_uploads(message: bytes) -> list[Upload] | None:
    """Behind an instance name, entries of a digest and content that is as long as the digest says."""
    uploads: list[Upload] = []
    view = memoryview(message)
    try:
        at = 0
        if message.startswith(b"\x0a"):
            length, start = number(message, 1)
            at = start + length
            if at > len(message):
                return None
            str(view[start:at], "utf-8")
        while at < len(message):
            whole, entry = number(message, at + 1)
            named = message[entry + 1]
            digest, size_at = entry + 2, entry + 2 + HASH_BYTES
            start = digest + named
            size = message[size_at:start]
            size_bytes, behind = number(message, size_at)
            at_content = start + 1 + len(size)
            at_end = at_content + size_bytes
            if (
                message[at] != 0x12
                or message[entry] != 0x0A
                or message[digest : digest + _HASH_AT] != b"\x0a\x40"
                or message[size_at - 1] != 0x10
                or behind != start
                or not message.startswith(b"\x12" + size, start)
                or at_end != entry + whole
                or at_end > len(message)
                or not size_bytes
            ):
                return None
            hash_hex = str(view[digest + _HASH_AT : size_at - 1], "utf-8")
            uploads.append(_new(Upload, (_new(Digest, (hash_hex, size_bytes)), view[at_content:at_end], 0)))
            at = at_end
    except (IndexError, ValueError):
        return None  # it ends within a field, a number is too long, or a text is none
    return uploads


class BatchUpdateAnswer:
    """``BatchUpdateBlobsResponse`` to be sent: an entry for each one of a request, in its order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, digest: Digest, status: Status | None = None) -> None:
        """How it went; None: well."""
        hash_hex, size_bytes = digest
        if status is None and size_bytes > 0 and len(hash_hex) == _HASH_CHARACTERS and hash_hex.isascii():
            length = varint(size_bytes)
            named = HASH_BYTES + len(length)
            self._parts.append(
                b"\x0a%c\x0a%c\x0a\x40%b\x10%b\x12\x00" % (named + 4, named, hash_hex.encode(), length)
            )
        else:
            entry = wire.BatchUpdateBlobsResponse()
            entry.responses.add(digest={"hash": hash_hex, "size_bytes": size_bytes}, status=status or {})
            self._parts.append(entry.SerializeToString())

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf's messages call it
        """The message on the wire."""
        return b"".join(self._parts)
