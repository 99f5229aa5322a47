"""What an upload may look like on the wire (wire-protocols section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.errors import InvalidRequest
from worker import zstd
from worker.server.answers import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.protocols import Piece
    from worker.server.resource_names import Resource
    from worker.stream_messages import WriteRequest


class Unfinished(InvalidRequest):
    """The requests ended without the last one: a client that was cut off, or one that is broken."""


class UploadPieces:
    """The data of an upload, while it keeps to the protocol. Raises InvalidRequest where it does not.

    Ends only when the announced size has come, was finished, and nothing followed. As zstd, what it comes
    to is unknown here; the first offset counts plain bytes and the following ones what was sent.
    """

    def __init__(self, first: WriteRequest, rest: Iterator[WriteRequest], resource: Resource) -> None:
        self._first = first
        self._rest = rest
        self._exactly = None if resource.zstd else resource.digest.size_bytes
        left_bytes = resource.digest.size_bytes - first.write_offset
        self._most = first.write_offset + zstd.most_bytes(left_bytes) if resource.zstd else self._exactly
        #: the offset behind the last piece
        self.end = first.write_offset

    def __iter__(self) -> Iterator[Piece]:
        """The data of each request that has some."""
        request = self._first
        while True:
            if request.resource_name not in {"", self._first.resource_name}:
                raise invalid("the resource name changed within one upload")
            if request.write_offset != self.end:
                raise invalid(f"piece at offset {request.write_offset} where {self.end} was due")
            self.end += len(request.data)
            if self._most is not None and self.end > self._most:
                raise invalid(f"{self.end} bytes were sent, more than the announced size can be")
            if request.data:
                yield request.data
            if request.finish_write:
                break
            following = next(self._rest, None)
            if following is None:
                raise Unfinished(
                    f"the upload ended after {self.end} bytes without finish_write",
                    way_out="go on behind what QueryWriteStatus says has come",
                )
            request = following
        if self._exactly is not None and self.end != self._exactly:
            raise invalid(f"{self.end} bytes were sent where {self._exactly} were announced")
        if next(self._rest, None) is not None:
            raise invalid("data after finish_write")
