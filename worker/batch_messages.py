"""The two messages that carry many small blobs, written without protobuf.

As messages of protobuf every blob would be copied into one, and once more with all that came before whenever
the message outgrows its place. What stands here is the same on the wire, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker._protos import remote_execution_pb2 as wire
from worker.stream_messages import varint

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

    from caskeeper.digest import Digest
    from worker.protocols import Piece

#: A digest's fields beside its size: tag and length of the hash, the 64 characters, tag of the size.
HASH_BYTES = 1 + 1 + 64 + 1


class BatchUpdateRequest:
    """``BatchUpdateBlobsRequest``."""

    def __init__(self, instance_name: str = "") -> None:
        self._parts: list[Piece] = [
            wire.BatchUpdateBlobsRequest(instance_name=instance_name).SerializeToString()
        ]

    def add(self, digest: Digest, data: Piece, *, compressor: int = wire.Compressor.IDENTITY) -> None:
        """One blob, as it is or as ``compressor`` made it."""
        if compressor or not data or len(data) != digest[1]:
            entry = wire.BatchUpdateBlobsRequest(
                requests=[
                    {
                        "digest": {"hash": digest.hash, "size_bytes": digest.size_bytes},
                        "data": bytes(data),
                        "compressor": compressor,
                    }
                ]
            )
            self._parts.append(entry.SerializeToString())
        else:
            self._parts += (entry_head(b"\x12", digest, b""), data)

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf's messages call it
        """The message on the wire."""
        return b"".join(self._parts)


class BatchReadResponse:
    """``BatchReadBlobsResponse``."""

    def __init__(self) -> None:
        self._parts: list[Piece] = []
        #: of content, as it is on the wire
        self.content_bytes = 0

    def add(self, digest: Digest, data: Piece, *, compressor: int = wire.Compressor.IDENTITY) -> None:
        """One blob, as it is or as ``compressor`` made it."""
        self.content_bytes += len(data)
        if compressor or not data or len(data) != digest[1]:
            entry = wire.BatchReadBlobsResponse(
                responses=[
                    {
                        "digest": {"hash": digest.hash, "size_bytes": digest.size_bytes},
                        "data": bytes(data),
                        "status": {},
                        "compressor": compressor,
                    }
                ]
            )
            self._parts.append(entry.SerializeToString())
        else:
            self._parts += (entry_head(b"\x0a", digest, OK), data, OK)

    def add_failure(self, digest: wire.Digest, status: Status) -> None:
        """Why one that was asked for is not in it."""
        entry = wire.BatchReadBlobsResponse()
        entry.responses.add(digest=digest, status=status)
        self._parts.append(entry.SerializeToString())

    def ByteSize(self) -> int:  # noqa: N802 -- as protobuf's messages call it
        """How long the message is on the wire."""
        return sum(map(len, self._parts))

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf's messages call it
        """The message on the wire."""
        return b"".join(self._parts)


#: A status, which is there and says nothing else; some leave it out.
OK = b"\x1a\x00"


def entry_head(tag: bytes, digest: Digest, tail: bytes) -> bytes:
    """An entry up to its content, which is not empty and as long as ``digest`` says; ``tail`` follows it."""
    hash_hex, size_bytes = digest
    length = varint(size_bytes)
    named = HASH_BYTES + len(length)
    whole = 1 + 1 + named + 1 + len(length) + size_bytes + len(tail)
    return b"%b%b\x0a%c\x0a\x40%b\x10%b\x12%b" % (
        tag,
        varint(whole),
        named,
        hash_hex.encode(),
        length,
        length,
    )
