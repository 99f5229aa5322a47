"""ContentAddressableStorage: FindMissing, BatchUpdate, BatchRead and GetTree over the volume.

FindMissing answers for hash *and* size, and makes young what is there under the rolling operation, so that
its answer holds for `upload-grace` (I4). What comes in is verified and published whole; each entry has a
status of its own.
"""

from __future__ import annotations

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
    NoSpace,
    Transient,
)
from worker import zstd
from worker._protos import remote_execution_pb2 as reapi
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
from worker.status import OK
from worker.store.blobs import StoreBlobs
from worker.store.damage import ObjectDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator

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
LOOKS = 1024

_OK = status_pb2.Status(code=OK)


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

    def look(self, digest: Digest) -> None:
        try:
            # Once it is known to be damaged, it is not hashed again for another size.
            if digest.hash not in self.damaged and not self._blobs.refresh(digest):
                self.missing.add(digest)
        except ObjectDamaged:
            self.damaged[digest.hash] = digest
        except DigestMismatch:
            self.missing.add(digest)  # an object of this hash and another size is not what was asked for


class _Entry(NamedTuple):
    digest: Digest
    data: bytes


def _weight(asked: reapi.BatchUpdateBlobsRequest.Request) -> int:
    """What an entry counts in a batch: what it is once it is plain."""
    sent = len(asked.data)
    return max(sent, asked.digest.size_bytes) if asked.compressor else sent


def _plain(asked: reapi.BatchUpdateBlobsRequest.Request, digest: Digest) -> bytes:
    """The bytes of an entry as they are to be stored. InvalidRequest, DigestMismatch."""
    if asked.compressor == reapi.Compressor.ZSTD:
        return zstd.unpack(asked.data, size_bytes=digest.size_bytes)
    if asked.compressor != reapi.Compressor.IDENTITY:
        raise invalid(f"compressor {asked.compressor} is not served", way_out="send it as zstd, or plain")
    return asked.data


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
        asked = list(dict.fromkeys(checked_digest(digest) for digest in request.blob_digests))

        def look(operation: Operation) -> _Found:
            found = _Found(StoreBlobs(operation.staging, self._objects))
            for number, digest in enumerate(asked):
                if number % LOOKS == 0:
                    require_client(context)
                found.look(digest)
            return found

        found = self._rolling.run(look, stop=context.cancel)
        if found.damaged:
            self._mender.await_taken(found.damaged.values())
            found = self._rolling.run(look, stop=context.cancel)
        if found.damaged:
            raise Busy("a damaged object is being taken away", str(next(iter(found.damaged.values()))))
        missing = found.missing
        response = reapi.FindMissingBlobsResponse()
        for digest in asked:
            if digest in missing:
                response.missing_blob_digests.add(hash=digest.hash, size_bytes=digest.size_bytes)
        return response

    def batch_update(
        self, request: reapi.BatchUpdateBlobsRequest, context: grpc.ServicerContext
    ) -> reapi.BatchUpdateBlobsResponse:
        """Store small blobs; the answer has one status for each, in the order of the request."""
        refuse_when_read_only(context, read_only=self._read_only)
        _check_entries(len(request.requests))
        _check_batch(sum(map(_weight, request.requests)))
        statuses: list[status_pb2.Status] = [_OK] * len(request.requests)
        entries: dict[int, _Entry] = {}
        for place, asked in enumerate(request.requests):
            try:
                digest = checked_digest(asked.digest)
                entries[place] = _Entry(digest, _plain(asked, digest))
            except CaskeeperError as error:
                statuses[place] = _status(error)
        if entries:
            found = self._store_all(entries, context)
            for place, trouble in found.items():
                statuses[place] = _status(trouble)
        response = reapi.BatchUpdateBlobsResponse()
        for asked, status in zip(request.requests, statuses, strict=True):
            response.responses.add(digest=asked.digest, status=status)
        return response

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
    ) -> reapi.BatchReadBlobsResponse:
        """Small blobs with a status each; missing or of another size is NOT_FOUND.

        As zstd where the client takes that and it is shorter so.
        """
        packing = reapi.Compressor.ZSTD in request.acceptable_compressors
        _check_entries(len(request.digests))
        asked: list[Digest | status_pb2.Status] = []
        for message in request.digests:
            try:
                asked.append(checked_digest(message))
            except CaskeeperError as error:
                asked.append(_status(error))
        _check_batch(sum(digest.size_bytes for digest in asked if isinstance(digest, Digest)))
        response = reapi.BatchReadBlobsResponse()
        for message, digest in zip(request.digests, asked, strict=True):
            if isinstance(digest, status_pb2.Status):
                response.responses.add(digest=message, status=digest)
                continue
            try:
                data = self._read(digest)
                packed = zstd.pack(data) if packing else data
                if len(packed) < len(data):
                    response.responses.add(
                        digest=message, data=packed, status=_OK, compressor=reapi.Compressor.ZSTD
                    )
                else:
                    response.responses.add(digest=message, data=data, status=_OK)
            except CaskeeperError as error:
                response.responses.add(digest=message, status=_status(error))
        if response.ByteSize() > MESSAGE_BYTES:
            raise invalid(f"the answer of {len(asked)} entries is too long", way_out="split the batch")
        return response

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
                    request_deserializer=reapi.BatchUpdateBlobsRequest.FromString,
                    response_serializer=reapi.BatchUpdateBlobsResponse.SerializeToString,
                ),
                "BatchReadBlobs": grpc.unary_unary_rpc_method_handler(
                    answering(self.batch_read),
                    request_deserializer=reapi.BatchReadBlobsRequest.FromString,
                    response_serializer=reapi.BatchReadBlobsResponse.SerializeToString,
                ),
                "GetTree": grpc.unary_stream_rpc_method_handler(
                    streaming(self.get_tree),
                    request_deserializer=reapi.GetTreeRequest.FromString,
                    response_serializer=reapi.EncodedGetTreeResponse.SerializeToString,
                ),
            },
        )
