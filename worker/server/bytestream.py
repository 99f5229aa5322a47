"""ByteStream: one blob in pieces, plain or as zstd (wire-protocols sections 4 and 12).

A read may begin anywhere in the blob and end early. An upload is verified while it arrives and published
whole or not at all; when the blob is here already, the client is told at once and stops sending. One that
broke off may go on where it ended.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from caskeeper.errors import BlobMissing, Busy, Cancelled, DigestMismatch, InvalidRequest
from worker import zstd
from worker._protos import bytestream_pb2 as wire
from worker.protocols import CHUNK_BYTES
from worker.server.answers import answering, invalid, refuse, refuse_when_read_only, streaming
from worker.server.recent import Recent
from worker.server.resource_names import parse_read, parse_write
from worker.server.upload_pieces import Unfinished, UploadPieces
from worker.store.blobs import StoreBlobs
from worker.store.damage import ObjectDamaged
from worker.stream_messages import ReadResponse, WriteRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caskeeper.digest import Digest
    from worker.protocols import Piece
    from worker.server.mending import Mender
    from worker.server.resource_names import Resource
    from worker.server.rolling import Rolling
    from worker.server.uploads import Upload, Uploads
    from worker.store.objects import Objects

SERVICE = "google.bytestream.ByteStream"
#: The answer for a compressed upload of what is here: nobody knows how many bytes it would have been.
_ALREADY_HERE = -1
#: Of so many blobs it is known whether their last read was verified.
_REMEMBERED = 65_536


class ByteStream:
    """Read, Write and QueryWriteStatus. Made once for a server."""

    def __init__(
        self, objects: Objects, rolling: Rolling, uploads: Uploads, mender: Mender, *, read_only: bool
    ) -> None:
        self._objects = objects
        self._rolling = rolling
        self._uploads = uploads
        self._mender = mender
        self._read_lately = Recent(_REMEMBERED)
        self._read_only = read_only

    def read(self, request: wire.ReadRequest, context: grpc.ServicerContext) -> Iterator[ReadResponse]:
        """The blob from ``read_offset`` on, at most ``read_limit`` bytes (0: all).

        As zstd the offset counts plain bytes, and there is no limit.
        """
        digest, as_zstd = parse_read(request.resource_name)
        if request.read_limit < 0:
            raise invalid(f"read_limit {request.read_limit} is negative", where=str(digest))
        if as_zstd and request.read_limit:
            raise invalid("a compressed read has no read_limit", where=str(digest), way_out="leave it out")
        outside = not 0 <= request.read_offset <= digest.size_bytes
        pieces = self._pieces(
            digest,
            offset=0 if outside else request.read_offset,
            limit=request.read_limit or None,
            chunk_bytes=zstd.SOURCE_BYTES if as_zstd else CHUNK_BYTES,
        )
        first = next(pieces, b"")  # whether it is here comes before where in it
        if outside:
            refuse(
                context,
                grpc.StatusCode.OUT_OF_RANGE,
                invalid(f"read_offset {request.read_offset} is outside the blob", where=str(digest)),
            )
        rest = _with_first(first, pieces)
        for piece in zstd.compressed(rest) if as_zstd else rest:
            yield ReadResponse(data=piece)

    def _pieces(self, digest: Digest, *, offset: int, limit: int | None, chunk_bytes: int) -> Iterator[bytes]:
        # Hashed on its way in (I1), and by the client that it goes to: who found it damaged asks again.
        verify = self._read_lately.toggle(digest)
        try:
            yield from self._objects.stream(
                digest, offset=offset, limit=limit, chunk_bytes=chunk_bytes, verify=verify
            )
        except ObjectDamaged:
            raise
        except DigestMismatch as other:
            # An object of this hash and another size is not what was asked for (presence is by both).
            raise BlobMissing(other.what, other.where) from None

    def write(self, requests: Iterator[WriteRequest], context: grpc.ServicerContext) -> wire.WriteResponse:
        """Store one blob; the answer may come before the end when it is here already."""
        refuse_when_read_only(context, read_only=self._read_only)
        first = next(requests, None)
        if first is None:
            raise invalid("an upload without a request")
        resource = parse_write(first.resource_name)
        if self._is_here(resource.digest, context):
            whole = _ALREADY_HERE if resource.zstd else resource.digest.size_bytes
            return wire.WriteResponse(committed_size=whole)
        pieces = UploadPieces(first, requests, resource)
        with self._begun(resource, first, context) as upload:
            try:
                self._receive(upload, zstd.decompressed(pieces) if resource.zstd else pieces)
            except (InvalidRequest, DigestMismatch) as fault:
                refuse(context, grpc.StatusCode.FAILED_PRECONDITION, fault)
        if first.write_offset:
            self._is_here(resource.digest, context)  # young also under the operation that is current now
        return wire.WriteResponse(committed_size=pieces.end)

    def _is_here(self, digest: Digest, context: grpc.ServicerContext) -> bool:
        """Whether it is here with this size; then it stays for a grace (I4)."""

        def look(blobs: StoreBlobs) -> bool | None:
            try:
                return blobs.refresh(digest)
            except ObjectDamaged:
                return None
            except DigestMismatch:
                return False

        for _time in range(2):
            here = self._rolling.run(
                lambda operation: look(StoreBlobs(operation.staging, self._objects)), stop=context.cancel
            )
            if here is not None:
                return here
            self._mender.await_taken([digest])  # then it is missing, and may be uploaded
        raise Busy("a damaged object is being taken away", str(digest))

    @contextmanager
    def _begun(
        self, resource: Resource, first: WriteRequest, context: grpc.ServicerContext
    ) -> Iterator[Upload]:
        """The upload, new or gone on with, under its operation."""
        name = first.resource_name
        if first.write_offset == 0:
            with self._rolling.lent(context.cancel) as operation:
                arriving = StoreBlobs(operation.staging, self._objects).receive(resource.digest)
                try:
                    begun = self._uploads.begin(name, operation, arriving, context.cancel)
                except BaseException:
                    arriving.discard()
                    raise
                yield begun
            return
        upload = self._uploads.take(name, first.write_offset, context.cancel)
        if upload is None:
            there = self._uploads.committed(name)
            where = f"nothing of it is kept, not {first.write_offset} bytes"
            if there is not None:
                where = f"{there} bytes of it are kept, not {first.write_offset}"
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, invalid(where, where=str(resource.digest)))
        with self._going_on(upload, context):
            yield upload

    @contextmanager
    def _going_on(self, upload: Upload, context: grpc.ServicerContext) -> Iterator[None]:
        """A kept upload runs again under its own operation; where that cannot be, it is dropped."""
        begun = False
        try:
            with self._rolling.lent(context.cancel, under=upload.operation):
                upload.arriving.resume()
                begun = True
                yield
        except BaseException:
            if not begun:  # what happens later is `_receive`'s
                self._uploads.drop(upload)
            raise

    def _receive(self, upload: Upload, pieces: Iterable[Piece]) -> None:
        """Write the pieces and publish the whole. What breaks off is kept, whatever else fails is not."""
        arriving = upload.arriving
        try:
            for piece in pieces:
                arriving.write(piece)
            StoreBlobs(arriving.staging, self._objects).complete(arriving)
        except (grpc.RpcError, Cancelled, Unfinished):
            self._uploads.keep(upload)
            raise
        except BaseException:
            self._uploads.drop(upload)
            raise
        self._uploads.over(upload)

    def query(
        self, request: wire.QueryWriteStatusRequest, context: grpc.ServicerContext
    ) -> wire.QueryWriteStatusResponse:
        """How much of an upload has come, in plain bytes. NOT_FOUND: start over."""
        digest = parse_write(request.resource_name).digest
        if self._is_here(digest, context):
            return wire.QueryWriteStatusResponse(committed_size=digest.size_bytes, complete=True)
        committed = self._uploads.committed(request.resource_name)
        if committed is None:
            raise BlobMissing("nothing of this upload is here", str(digest), "start it over")
        return wire.QueryWriteStatusResponse(committed_size=committed)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Read": grpc.unary_stream_rpc_method_handler(
                    streaming(self.read),
                    request_deserializer=wire.ReadRequest.FromString,
                    response_serializer=ReadResponse.SerializeToString,
                ),
                "Write": grpc.stream_unary_rpc_method_handler(
                    answering(self.write),
                    request_deserializer=WriteRequest.FromString,
                    response_serializer=wire.WriteResponse.SerializeToString,
                ),
                "QueryWriteStatus": grpc.unary_unary_rpc_method_handler(
                    answering(self.query),
                    request_deserializer=wire.QueryWriteStatusRequest.FromString,
                    response_serializer=wire.QueryWriteStatusResponse.SerializeToString,
                ),
            },
        )


def _with_first(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest
