"""ReferenceStorage: the ref index of BuildStream 1 over the fleet's refs (wire-protocols sections 5 and 12).

Stricter than the reference (interface section 5): a hit means that the whole content is here and stays for
`upload-grace`; an update is a writer operation that is refused while content is missing (I3). A ref that
is here only in part (I2) is not served: it would be taken for complete.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

import grpc

from caskeeper.artifact import Ref
from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    Busy,
    Cancelled,
    CoordinatorUnavailable,
    DigestMismatch,
    InvalidRequest,
)
from worker._protos import reference_storage_pb2 as wire
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.ref_record_pb2 import DIRECTORY
from worker.closure import WHOLE, walk
from worker.protocols import Context
from worker.server.answers import answering, checked_digest, invalid, refuse, refuse_when_read_only
from worker.store.blobs import StoreBlobs
from worker.store.closures import Closures
from worker.store.refs import RefRecord, Refs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caskeeper.digest import Digest
    from worker.server.needs import Operation, Services
    from worker.server.rolling import Rolling
    from worker.store.objects import Objects

log = logging.getLogger(__name__)

SERVICE = "buildstream.v2.ReferenceStorage"
#: So many digests are looked at between two looks at whether the client still waits.
GROUP = 4096


def _groups(digests: Iterable[Digest]) -> Iterator[list[Digest]]:
    rest = iter(digests)
    while group := list(islice(rest, GROUP)):
        yield group


class ReferenceStorage:
    """The three calls. Made once for a server."""

    def __init__(self, services: Services, objects: Objects, rolling: Rolling, *, read_only: bool) -> None:
        self._services = services
        self._objects = objects
        self._refs = Refs(services.volume)
        self._closures = Closures(services.volume)
        self._rolling = rolling
        self._read_only = read_only

    def get(
        self, request: wire.GetReferenceRequest, context: grpc.ServicerContext
    ) -> wire.GetReferenceResponse:
        """The root of a complete tree, all of it made young."""
        place = f"key {request.key[:200]!r}"
        try:
            ref = Ref.parse(request.key, where="key")
        except InvalidRequest as fault:
            refuse(context, grpc.StatusCode.NOT_FOUND, fault)
        record = self._refs.read(ref)
        if record is None:
            raise ArtifactNotFound("no such reference", place)
        if record.kind != DIRECTORY or len(record.roots) != 1:
            raise ArtifactNotFound("the reference names no directory tree", place)
        if not record.scope.whole:
            raise ArtifactNotFound("the reference is here only in part", place)
        gap = self._rolling.run(
            lambda operation: self._refresh(record.root, operation, context), stop=context.cancel
        )
        if gap:
            raise ArtifactNotFound(f"its content is no longer complete: {gap}", place)
        self._refs.touch(ref)
        self._used([ref])
        return wire.GetReferenceResponse(
            digest=reapi.Digest(hash=record.root.hash, size_bytes=record.root.size_bytes)
        )

    def _refresh(self, root: Digest, operation: Operation, context: grpc.ServicerContext) -> str:
        """Make the whole closure young; "" when all of it is here, else what is not (I4)."""
        blobs = StoreBlobs(operation.staging, self._objects)
        try:
            listing = self._closures.obtain(root, WHOLE, self._objects)
            return self._missing(blobs, listing.digests(), context)
        except (BlobMissing, DigestMismatch) as gap:
            return gap.what

    @staticmethod
    def _missing(blobs: StoreBlobs, digests: Iterable[Digest], context: grpc.ServicerContext) -> str:
        """The first digest that is not here, as text; "" when all are, and are young now."""
        for group in _groups(digests):
            if not context.is_active():
                raise Cancelled("the client went away")
            for digest in group:
                if not blobs.refresh(digest):
                    return str(digest)
        return ""

    def _used(self, refs: list[Ref]) -> None:
        """Tell the order of eviction; a hint, for which no answer fails (I6)."""
        try:
            self._services.coordination.recency.touch([str(ref) for ref in refs])
        except (Busy, CoordinatorUnavailable) as trouble:
            log.info("recency not told", extra={"error": str(trouble)})

    def update(
        self, request: wire.UpdateReferenceRequest, context: grpc.ServicerContext
    ) -> wire.UpdateReferenceResponse:
        """Bind every key to a tree whose content was uploaded before."""
        refuse_when_read_only(context, read_only=self._read_only)
        refs = list(dict.fromkeys(Ref.parse(key, where="key") for key in request.keys))
        if not refs:
            raise invalid("an update without a key")
        root = checked_digest(request.digest)
        try:
            self._publish(refs, root, context)
        except (BlobMissing, DigestMismatch) as gap:
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, gap)
        self._used(refs)
        return wire.UpdateReferenceResponse()

    def _publish(self, refs: list[Ref], root: Digest, context: grpc.ServicerContext) -> None:
        """The writer of safety.md section 9; all its content is here already, or it is refused."""

        def check() -> None:
            if not context.is_active():
                raise Cancelled("the client went away")

        quietly = Context(progress=lambda _progress: None, check=check)
        with self._services.desk.writer("update-reference", str(refs[0]), quietly) as operation:
            staging = operation.staging
            closure = walk(root, WHOLE, self._objects.directory)
            gap = self._missing(StoreBlobs(staging, self._objects), closure.digests, context)
            if gap:
                raise BlobMissing(gap, way_out="upload it, then send the reference again")
            self._closures.write(staging, closure)
            self._services.volume.sync()
            record = RefRecord.fresh((root,), origin="server", kind=DIRECTORY)
            staged = [(ref, self._refs.stage(staging, ref, record)) for ref in refs]
            operation.hold(refs, [root])
            for ref, path in staged:
                self._refs.publish(staging, path, ref)

    def status(self, _request: wire.StatusRequest, _context: grpc.ServicerContext) -> wire.StatusResponse:
        """Whether updates are taken."""
        return wire.StatusResponse(allow_updates=not self._read_only)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetReference": grpc.unary_unary_rpc_method_handler(
                    answering(self.get),
                    request_deserializer=wire.GetReferenceRequest.FromString,
                    response_serializer=wire.GetReferenceResponse.SerializeToString,
                ),
                "UpdateReference": grpc.unary_unary_rpc_method_handler(
                    answering(self.update),
                    request_deserializer=wire.UpdateReferenceRequest.FromString,
                    response_serializer=wire.UpdateReferenceResponse.SerializeToString,
                ),
                "Status": grpc.unary_unary_rpc_method_handler(
                    answering(self.status),
                    request_deserializer=wire.StatusRequest.FromString,
                    response_serializer=wire.StatusResponse.SerializeToString,
                ),
            },
        )
