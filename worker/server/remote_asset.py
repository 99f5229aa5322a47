"""Remote Asset over the fleet's refs (wire-protocols section 6): what URIs name, and what belongs to it.

The two URNs of BuildStream artifacts are the refs themselves. Whatever else is pushed gets a ref of its own
for each URI and set of qualifiers, to a view that holds the asset and its references: they are kept as
long as it is. Nothing is ever fetched from where a URI leads. An ``expire_at`` hides an asset from then on
and does not keep it until then; a ``timeout`` is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from caskeeper.errors import ArtifactNotFound, InvalidRequest
from worker._protos import remote_asset_pb2 as wire
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import ARTIFACT, BLOB, DIRECTORY
from worker.server.answers import answering, checked_digest, invalid, refuse_when_read_only
from worker.server.asset_names import (
    BLOBS,
    DIRECTORIES,
    QUALIFIERS,
    URI,
    canonical,
    checked_qualifiers,
    name_of,
    names_of,
)
from worker.server.published import EXPIRES_MS, Content
from worker.status import OK
from worker.views import MAX_MESSAGE_BYTES, artifact_view, asset_view, directory_of, message_of
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.digest import Digest
    from worker.server.asset_names import FetchRequest, Half, Name, PushRequest
    from worker.server.budget import Take
    from worker.server.published import PublishedRefs
    from worker.store.refs import RefRecord


FETCH = "build.bazel.remote.asset.v1.Fetch"
PUSH = "build.bazel.remote.asset.v1.Push"


#: What a Timestamp may say: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799


class _Found(NamedTuple):
    uri: str
    record: RefRecord
    own: bool


class RemoteAsset:
    """The four calls. Made once for a server."""

    def __init__(self, refs: PublishedRefs, *, read_only: bool) -> None:
        self._refs = refs
        self._read_only = read_only

    # -- Fetch -----------------------------------------------------------------------------------------

    def fetch_blob(
        self, request: wire.FetchBlobRequest, context: grpc.ServicerContext
    ) -> wire.FetchBlobResponse:
        """The blob that the first known URI names; all that belongs to it was made young."""
        found = self._find(request, BLOBS, context)
        blob = message_of(self._refs.objects.directory(found.record.root))
        if blob is None:
            raise ArtifactNotFound("it stands for no blob", f"uri {found.uri[:200]!r}")
        return wire.FetchBlobResponse(
            status=status_pb2.Status(code=OK),
            uri=found.uri,
            qualifiers=request.qualifiers,
            expires_at=_expiry(found.record),
            blob_digest=to_wire(blob),
            digest_function=request.digest_function,
        )

    def fetch_directory(
        self, request: wire.FetchDirectoryRequest, context: grpc.ServicerContext
    ) -> wire.FetchDirectoryResponse:
        """The root that the first known URI names, likewise."""
        found = self._find(request, DIRECTORIES, context)
        root: Digest | None = found.record.root
        if not found.own:
            root = directory_of(self._refs.objects.directory(found.record.root))
        if root is None:
            raise ArtifactNotFound("it stands for no directory", f"uri {found.uri[:200]!r}")
        return wire.FetchDirectoryResponse(
            status=status_pb2.Status(code=OK),
            uri=found.uri,
            qualifiers=request.qualifiers,
            expires_at=_expiry(found.record),
            root_directory_digest=to_wire(root),
            digest_function=request.digest_function,
        )

    def _find(self, request: FetchRequest, half: Half, context: grpc.ServicerContext) -> _Found:
        """The first URI of the request that is here. Raises ArtifactNotFound with the reason of the last."""
        qualifiers = checked_qualifiers(request)
        oldest_ms = 0
        if request.HasField("oldest_content_accepted"):
            oldest_ms = _milliseconds(request.oldest_content_accepted)
        miss: Exception = ArtifactNotFound("no such asset")
        for uri in request.uris:
            try:
                name = name_of(uri, qualifiers, half)
            except InvalidRequest as fault:
                miss = ArtifactNotFound(fault.what, fault.where)  # nothing is bound to such a name
                continue
            kind = half.kind if name.own else BLOB
            try:
                record = self._refs.find(name.ref, context, kinds={kind}, not_before_ms=oldest_ms)
            except ArtifactNotFound as reason:
                miss = reason
            else:
                return _Found(uri, record, name.own)
        raise miss

    # -- Push ------------------------------------------------------------------------------------------

    def push_blob(
        self, request: wire.PushBlobRequest, context: grpc.ServicerContext
    ) -> wire.PushBlobResponse:
        """Bind every URI to a blob; an Artifact message brings along what it names."""
        refuse_when_read_only(context, read_only=self._read_only)
        names = names_of(request, BLOBS)
        blob = checked_digest(request.blob_digest)
        blobs, directories = _references(request)

        def artifact(take: Take) -> Content:
            if blob.size_bytes > MAX_MESSAGE_BYTES:
                raise invalid("it is too large for an Artifact message", where=f"blob {blob}")
            take(blob.size_bytes)
            view = artifact_view(self._refs.objects.read(blob), blob)
            return Content((view.root,), ARTIFACT, view.messages)

        def asset(_take: Take) -> Content:
            view = asset_view(blob=blob, blobs=blobs, directories=directories)
            return Content((view.root,), BLOB, view.messages)

        self._publish(request, names, own=artifact, other=asset, context=context)
        return wire.PushBlobResponse()

    def push_directory(
        self, request: wire.PushDirectoryRequest, context: grpc.ServicerContext
    ) -> wire.PushDirectoryResponse:
        """Bind every URI to a directory tree."""
        refuse_when_read_only(context, read_only=self._read_only)
        names = names_of(request, DIRECTORIES)
        root = checked_digest(request.root_directory_digest)
        blobs, directories = _references(request)

        def tree(_take: Take) -> Content:
            further = [digest for digest in directories if digest != root]
            if not blobs and not further:
                return Content((root,), DIRECTORY)
            view = asset_view(blobs=blobs, directories=further)
            return Content((root, view.root), DIRECTORY, view.messages)

        def asset(_take: Take) -> Content:
            view = asset_view(directory=root, blobs=blobs, directories=directories)
            return Content((view.root,), BLOB, view.messages)

        self._publish(request, names, own=tree, other=asset, context=context)
        return wire.PushDirectoryResponse()

    def _publish(
        self,
        request: PushRequest,
        names: Sequence[Name],
        *,
        own: Callable[[Take], Content],
        other: Callable[[Take], Content],
        context: grpc.ServicerContext,
    ) -> None:
        labels: dict[str, str] = {}
        if request.HasField("expire_at"):
            labels[EXPIRES_MS] = str(_milliseconds(request.expire_at))
        refs = {name.ref: labels for name in names if name.own}
        if refs:
            self._refs.publish("push-asset", refs, own, context)
        if request.qualifiers:
            labels = {**labels, QUALIFIERS: canonical(checked_qualifiers(request))}
        refs = {name.ref: {**labels, URI: name.uri} for name in names if not name.own}
        if refs:
            self._refs.publish("push-asset", refs, other, context)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """The two services, ready to be added to a server."""
        fetch = grpc.method_handlers_generic_handler(
            FETCH,
            {
                "FetchBlob": grpc.unary_unary_rpc_method_handler(
                    answering(self.fetch_blob),
                    request_deserializer=wire.FetchBlobRequest.FromString,
                    response_serializer=wire.FetchBlobResponse.SerializeToString,
                ),
                "FetchDirectory": grpc.unary_unary_rpc_method_handler(
                    answering(self.fetch_directory),
                    request_deserializer=wire.FetchDirectoryRequest.FromString,
                    response_serializer=wire.FetchDirectoryResponse.SerializeToString,
                ),
            },
        )
        push = grpc.method_handlers_generic_handler(
            PUSH,
            {
                "PushBlob": grpc.unary_unary_rpc_method_handler(
                    answering(self.push_blob),
                    request_deserializer=wire.PushBlobRequest.FromString,
                    response_serializer=wire.PushBlobResponse.SerializeToString,
                ),
                "PushDirectory": grpc.unary_unary_rpc_method_handler(
                    answering(self.push_directory),
                    request_deserializer=wire.PushDirectoryRequest.FromString,
                    response_serializer=wire.PushDirectoryResponse.SerializeToString,
                ),
            },
        )
        return [fetch, push]


def _references(request: PushRequest) -> tuple[list[Digest], list[Digest]]:
    return _digests(request.references_blobs), _digests(request.references_directories)


def _digests(messages: Iterable[reapi.Digest]) -> list[Digest]:
    return [checked_digest(message) for message in messages]


def _milliseconds(time: Timestamp) -> int:
    """Since 1970. Raises InvalidRequest for what is no Timestamp, and could not be sent back as one."""
    if not (_FIRST_S <= time.seconds <= _LAST_S and 0 <= time.nanos < 10**9):
        raise invalid(f"{time.seconds} s and {time.nanos} ns are no time between the years 1 and 9999")
    return time.seconds * 1000 + time.nanos // 1_000_000


def _expiry(record: RefRecord) -> Timestamp | None:
    expires_ms = record.labels.get(EXPIRES_MS)
    if expires_ms is None:
        return None
    seconds, milliseconds = divmod(int(expires_ms), 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)
