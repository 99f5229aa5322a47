"""ContentAddressableStorage: FindMissing, BatchUpdate, BatchRead and GetTree over the volume.

FindMissing answers for hash *and* size, and makes young what is there under the rolling operation, so that
its answer holds for `upload-grace` (I4). What comes in is verified and published whole; each entry has a
status of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.rpc import status_pb2

from caskeeper.digest import Digest
from caskeeper.errors import (
    BlobMissing,
    Busy,
    CacheTooFull,
    CaskeeperError,
    DigestMismatch,
    InvalidRequest,
    NoSpace,
    Transient,
)
from worker import zstd
from worker._protos import remote_execution_pb2 as reapi
from worker.batch_messages import BatchReadResponse
from worker.batch_reading import BatchUpdate, BatchUpdateAnswer
from worker.server.answers import (
    answering,
    checked_digest,
    invalid,
    number_for,
    refuse_when_read_only,
    require_client,
    streaming,
)
from worker.server.tree_pages import MESSAGE_BYTES, pages
from worker.store.blobs import MISSING, TROUBLE, StoreBlobs
from worker.store.damage import ObjectDamaged
from worker.wire_digests import all_checked, all_from_wire, checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.batch_reading import Upload
    from worker.protocols import Piece
    from worker.server.mending import Mender
    from worker.server.needs import Operation
    from worker.server.rolling import Rolling
    from worker.store.objects import Objects

SERVICE = "build.bazel.remote.execution.v2.ContentAddressableStorage"
#: The sum of the sizes in one batch.
BATCH_LIMIT_BYTES = 1024 * 1024
#: More than digests of their full length fit into one message.
MOST_ENTRIES = 65_536
#: So many of them are looked at between two looks at whether the client still waits.
LOOKS = 4096


def _status(error: CaskeeperError) -> status_pb2.Status:
    """An entry's status. Short: thousands of them share one message."""
    return status_pb2.Status(code=number_for(error), message=error.what[:200])


def _check_entries(count: int) -> None:
    """Entries of a few bytes are no digests, and each of millions would cost a thousand times that."""
    if count > MOST_ENTRIES:
        raise invalid(
            f"{count} entries are more than one call takes ({MOST_ENTRIES})", way_out="split the call"
        )


def _check_batch(size_bytes: int) -> None:
    """A batch over its limit is refused whole: the client splits it (wire-protocols section 8)."""
    if size_bytes > BATCH_LIMIT_BYTES:
        raise invalid(
            f"{size_bytes} bytes are more than one batch takes ({BATCH_LIMIT_BYTES})",
            way_out="split the batch, or stream large blobs",
        )


class _Found:
    """What of many digests is here with the size asked for, and so young now (I4)."""

    def __init__(self, blobs: StoreBlobs) -> None:
        self._blobs = blobs
        self.missing: set[Digest] = set()
        self.damaged: dict[str, Digest] = {}

    def look(self, digests: Sequence[Digest]) -> None:
        refresh, missing, damaged = self._blobs.refresh, self.missing, self.damaged
        for digest, state in zip(digests, self._blobs.states(digests), strict=True):
            if state != TROUBLE:
                if state == MISSING:
                    missing.add(digest)
                continue
            try:
                # Once it is known to be damaged, it is not hashed again for another size.
                if digest[0] not in damaged and not refresh(digest):
                    missing.add(digest)
            except ObjectDamaged:
                damaged[digest.hash] = digest
            except DigestMismatch:
                missing.add(digest)  # an object of this hash and another size is not what was asked for


class _Entry(NamedTuple):
    digest: Digest
    data: Piece


def _digests(claimed: list[Digest]) -> Sequence[Digest | status_pb2.Status]:
    """The same; a status in the place of what is no digest."""
    with suppress(InvalidRequest):
        return checked(claimed)
    found: list[Digest | status_pb2.Status] = []
    for digest in claimed:
        try:
            found.append(Digest.checked(*digest))
        except InvalidRequest as error:
            found.append(_status(error))
    return found


def _weight(upload: Upload) -> int:
    """What an entry counts in a batch: what it is once it is plain."""
    size_bytes = len(upload.data)
    return max(size_bytes, upload.digest.size_bytes) if upload.compressor else size_bytes


def _plain(data: Piece, compressor: int, digest: Digest) -> Piece:
    """The bytes of an entry as they are to be stored. InvalidRequest, DigestMismatch."""
    if compressor == reapi.Compressor.IDENTITY:
        return data
    if compressor == reapi.Compressor.ZSTD:
        return zstd.unpack(data, size_bytes=digest.size_bytes)
    raise invalid(f"compressor {compressor} is not served", way_out="send it as zstd, or plain")


class ContentAddressableStorage:
    """The four calls. Made once for a server."""

    def __init__(self, objects: Objects, rolling: Rolling, mender: Mender, *, read_only: bool) -> None:
        self._objects = objects
        self._rolling = rolling
        self._mender = mender
        self._read_only = read_only

    def find_missing(
        self, request: reapi.FindMissingBlobsRequest, context: grpc.ServicerContext
    ) -> reapi.FindMissingBlobsResponse:
        """Those that are not here with this size; the others stay for a grace.

        What is damaged is taken away first, and missing then: the client uploads it again.
        """
        _check_entries(len(request.blob_digests))
        asked = list(dict.fromkeys(all_checked(request.blob_digests)))

        def look(operation: Operation) -> _Found:
            found = _Found(StoreBlobs(operation.staging, self._objects))
            for start in range(0, len(asked), LOOKS):
                require_client(context)
                found.look(asked[start : start + LOOKS])
            return found

        found = self._rolling.run(look, stop=context.cancel)
        if found.damaged:
            self._mender.await_taken(found.damaged.values())
            found = self._rolling.run(look, stop=context.cancel)
        if found.damaged:
            raise Busy("a damaged object is being taken away", str(next(iter(found.damaged.values()))))
        missing = found.missing
        response = reapi.FindMissingBlobsResponse()
        add = response.missing_blob_digests.add
        for digest in asked:
            if digest in missing:
                add(hash=digest[0], size_bytes=digest[1])
        return response

    def batch_update(self, request: BatchUpdate, context: grpc.ServicerContext) -> BatchUpdateAnswer:
        """Store small blobs; the answer has one status for each, in the order of the request."""
        refuse_when_read_only(context, read_only=self._read_only)
        uploads = request.uploads
        _check_entries(len(uploads))
        _check_batch(sum(map(_weight, uploads)))
        statuses: dict[int, status_pb2.Status] = {}  # of those that did not go well
        entries: dict[int, _Entry] = {}
        digests = _digests([upload.digest for upload in uploads])
        for place, (upload, digest) in enumerate(zip(uploads, digests, strict=True)):
            if isinstance(digest, status_pb2.Status):
                statuses[place] = digest
                continue
            try:
                entries[place] = _Entry(digest, _plain(upload.data, upload.compressor, digest))
            except CaskeeperError as error:
                statuses[place] = _status(error)
        if entries:
            found = self._store_all(entries, context)
            for place, trouble in found.items():
                statuses[place] = _status(trouble)
        answer = BatchUpdateAnswer()
        for place, upload in enumerate(uploads):
            answer.add(upload.digest, statuses.get(place))
        return answer

    def _store_all(
        self, entries: dict[int, _Entry], context: grpc.ServicerContext
    ) -> dict[int, CaskeeperError]:
        """What was in the way is taken away, and then the rest stored."""
        found = self._rolling.run(lambda operation: self._store(entries, operation), stop=context.cancel)
        hurt = {place: entries[place] for place, error in found.items() if isinstance(error, ObjectDamaged)}
        if hurt:
            self._mender.await_taken([entry.digest for entry in hurt.values()])
            again = self._rolling.run(lambda operation: self._store(hurt, operation), stop=context.cancel)
            found = {place: error for place, error in found.items() if place not in hurt} | again
        return found

    def _store(self, entries: dict[int, _Entry], operation: Operation) -> dict[int, CaskeeperError]:
        """All at once; where that fails, one by one, so that each one's trouble stays its own."""
        blobs = StoreBlobs(operation.staging, self._objects)
        try:
            blobs.write_batch(list(entries.values()))
        except CaskeeperError as trouble:
            if isinstance(trouble, Transient) and not isinstance(trouble, NoSpace):
                raise  # not about an entry: the whole call may be repeated
        else:
            return {}
        found: dict[int, CaskeeperError] = {}
        full: CaskeeperError | None = None
        for place, entry in entries.items():
            try:
                if full is None or blobs.refresh(entry.digest):
                    blobs.write_batch([entry])
                else:
                    found[place] = full  # no cleanup for every entry: the first one's was in vain
            except (CacheTooFull, NoSpace) as error:
                found[place] = full = error
            except Transient:
                raise
            except CaskeeperError as error:
                found[place] = error
        return found

    def batch_read(
        self, request: reapi.BatchReadBlobsRequest, context: grpc.ServicerContext
    ) -> BatchReadResponse:
        """Small blobs with a status each; missing or of another size is NOT_FOUND.

        As zstd where the client takes that and it is shorter so.
        """
        packing = reapi.Compressor.ZSTD in request.acceptable_compressors
        _check_entries(len(request.digests))
        asked = _digests(all_from_wire(request.digests))
        size_bytes = sum([digest.size_bytes for digest in asked if isinstance(digest, Digest)])
        _check_batch(size_bytes)
        response = BatchReadResponse()
        with self._objects.volume.turn.taken(len(asked), size_bytes):
            for place, digest in enumerate(asked):
                if isinstance(digest, Digest):
                    try:
                        self._add(response, digest, packing=packing)
                        continue
                    except CaskeeperError as error:
                        status = _status(error)
                else:
                    status = digest
                response.add_failure(request.digests[place], status)
        if response.ByteSize() > MESSAGE_BYTES:
            raise invalid(f"the answer of {len(asked)} entries is too long", way_out="split the batch")
        return response

    def _add(self, response: BatchReadResponse, digest: Digest, *, packing: bool) -> None:
        """One blob of a batch."""
        data = self._read(digest)
        packed = zstd.pack(data) if packing else data
        if len(packed) < len(data):
            response.add(digest, packed, compressor=reapi.Compressor.ZSTD)
        else:
            response.add(digest, data)

    def _read(self, digest: Digest) -> bytes:
        try:
            return self._objects.read(digest)
        except ObjectDamaged:
            raise
        except DigestMismatch as other:
            # An object of this hash and another size is not what was asked for (presence is by both).
            raise BlobMissing(other.what, other.where) from None

    def get_tree(
        self, request: reapi.GetTreeRequest, context: grpc.ServicerContext
    ) -> Iterator[reapi.EncodedGetTreeResponse]:
        """The Directory messages of a tree, in pages."""
        yield from pages(
            self._objects,
            checked_digest(request.root_digest),
            page_size=request.page_size,
            token=request.page_token,
            check=lambda: require_client(context),
        )

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "FindMissingBlobs": grpc.unary_unary_rpc_method_handler(
                    answering(self.find_missing),
                    request_deserializer=reapi.FindMissingBlobsRequest.FromString,
                    response_serializer=reapi.FindMissingBlobsResponse.SerializeToString,
                ),
                "BatchUpdateBlobs": grpc.unary_unary_rpc_method_handler(
                    answering(self.batch_update),
                    request_deserializer=BatchUpdate.FromString,
                    response_serializer=BatchUpdateAnswer.SerializeToString,
                ),
                "BatchReadBlobs": grpc.unary_unary_rpc_method_handler(
                    answering(self.batch_read),
                    request_deserializer=reapi.BatchReadBlobsRequest.FromString,
                    response_serializer=BatchReadResponse.SerializeToString,
                ),
                "GetTree": grpc.unary_stream_rpc_method_handler(
                    streaming(self.get_tree),
                    request_deserializer=reapi.GetTreeRequest.FromString,
                    response_serializer=reapi.EncodedGetTreeResponse.SerializeToString,
                ),
            },
        )
