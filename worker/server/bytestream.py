"""ByteStream: one blob in pieces (wire-protocols sections 4 and 12).

A read may begin anywhere in the blob and end early. An upload is verified while it arrives and published
whole or not at all; when the blob is here already, the client is told at once and stops sending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker._protos import bytestream_pb2 as wire
from worker.protocols import CHUNK_BYTES
from worker.server.answers import answering, invalid, refuse, refuse_when_read_only, streaming
from worker.server.resource_names import parse_read, parse_write
from worker.store.blobs import StoreBlobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.digest import Digest
    from worker.server.rolling import Rolling
    from worker.store.objects import Objects

SERVICE = "google.bytestream.ByteStream"


def upload_pieces(
    first: wire.WriteRequest, rest: Iterator[wire.WriteRequest], size_bytes: int
) -> Iterator[bytes]:
    """The data of an upload, while it keeps to the protocol. Raises InvalidRequest where it does not.

    Ends only when the announced size has come, was finished, and nothing followed.
    """
    request, sent = first, 0
    while True:
        if request.resource_name not in {"", first.resource_name}:
            raise invalid("the resource name changed within one upload")
        if request.write_offset != sent:
            raise invalid(f"piece at offset {request.write_offset} where {sent} was due")
        sent += len(request.data)
        if sent > size_bytes:
            raise invalid(f"more than the announced {size_bytes} bytes were sent")
        if request.data:
            yield request.data
        if request.finish_write:
            break
        following = next(rest, None)
        if following is None:
            raise invalid(f"the upload ended after {sent} bytes without finish_write")
        request = following
    if sent != size_bytes:
        raise invalid(f"{sent} bytes were sent where {size_bytes} were announced")
    if next(rest, None) is not None:
        raise invalid("data after finish_write")


class ByteStream:
    """Read and Write. Made once for a server."""

    def __init__(self, objects: Objects, rolling: Rolling, *, read_only: bool) -> None:
        self._objects = objects
        self._rolling = rolling
        self._read_only = read_only

    def read(self, request: wire.ReadRequest, context: grpc.ServicerContext) -> Iterator[wire.ReadResponse]:
        """The blob from ``read_offset`` on, at most ``read_limit`` bytes (0: all)."""
        digest = parse_read(request.resource_name)
        if request.read_limit < 0:
            raise invalid(f"read_limit {request.read_limit} is negative", where=str(digest))
        outside = not 0 <= request.read_offset <= digest.size_bytes
        pieces = self._pieces(
            digest, offset=0 if outside else request.read_offset, limit=request.read_limit or None
        )
        first = next(pieces, b"")  # whether it is here comes before where in it
        if outside:
            refuse(
                context,
                grpc.StatusCode.OUT_OF_RANGE,
                invalid(f"read_offset {request.read_offset} is outside the blob", where=str(digest)),
            )
        if first:
            yield wire.ReadResponse(data=first)
        for piece in pieces:
            yield wire.ReadResponse(data=piece)

    def _pieces(self, digest: Digest, *, offset: int, limit: int | None) -> Iterator[bytes]:
        try:
            # Not hashed again: it was on its way in (I1), and the client hashes what arrives.
            yield from self._objects.stream(
                digest, offset=offset, limit=limit, chunk_bytes=CHUNK_BYTES, verify=False
            )
        except DigestMismatch as other:
            # An object of this hash and another size is not what was asked for (presence is by both).
            raise BlobMissing(other.what, other.where) from None

    def write(
        self, requests: Iterator[wire.WriteRequest], context: grpc.ServicerContext
    ) -> wire.WriteResponse:
        """Store one blob; the answer may come before the end when it is here already."""
        refuse_when_read_only(context, read_only=self._read_only)
        first = next(requests, None)
        if first is None:
            raise invalid("an upload without a request")
        digest = parse_write(first.resource_name)
        if first.write_offset != 0:
            refuse(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                invalid(f"an upload begins at offset 0, not {first.write_offset}", where=str(digest)),
            )
        with self._rolling.lent(context.cancel) as operation:
            blobs = StoreBlobs(operation.staging, self._objects)
            try:
                # Asks for no piece when the blob is here: the early answer.
                blobs.write_stream(digest, upload_pieces(first, requests, digest.size_bytes))
            except (InvalidRequest, DigestMismatch) as fault:
                refuse(context, grpc.StatusCode.FAILED_PRECONDITION, fault)
        return wire.WriteResponse(committed_size=digest.size_bytes)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Read": grpc.unary_stream_rpc_method_handler(
                    streaming(self.read),
                    request_deserializer=wire.ReadRequest.FromString,
                    response_serializer=wire.ReadResponse.SerializeToString,
                ),
                "Write": grpc.stream_unary_rpc_method_handler(
                    answering(self.write),
                    request_deserializer=wire.WriteRequest.FromString,
                    response_serializer=wire.WriteResponse.SerializeToString,
                ),
            },
        )
