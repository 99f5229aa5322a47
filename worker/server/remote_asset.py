"""Remote Asset over the fleet's refs (wire-protocols section 6): what URIs name, and what belongs to it.

The two URNs of BuildStream artifacts are the refs themselves. Whatever else is pushed gets a ref of its own
for each URI and set of qualifiers, to a view that holds the asset and its references: they are kept as
long as it is. Nothing is ever fetched from where a URI leads. An ``expire_at`` hides an asset from then on
and does not keep it until then; a ``timeout`` is not needed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from caskeeper.artifact import Ref
from caskeeper.errors import ArtifactNotFound, InvalidRequest
from worker._protos import remote_asset_pb2 as wire
from worker._protos import remote_execution_pb2 as reapi
from worker.names import ARTIFACT_URN, DIRECTORY_URN
from worker.protocols import ARTIFACT, BLOB, DIRECTORY
from worker.server.answers import answering, checked_digest, invalid, refuse_when_read_only
from worker.server.published import ASSETS, EXPIRES_MS, Content
from worker.status import OK
from worker.views import MAX_MESSAGE_BYTES, artifact_view, asset_view, directory_of, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.digest import Digest
    from worker.server.published import PublishedRefs
    from worker.store.refs import RefRecord

    FetchRequest: TypeAlias = wire.FetchBlobRequest | wire.FetchDirectoryRequest
    PushRequest: TypeAlias = wire.PushBlobRequest | wire.PushDirectoryRequest

FETCH = "build.bazel.remote.asset.v1.Fetch"
PUSH = "build.bazel.remote.asset.v1.Push"
#: The label that says what such a ref stands for.
URI, QUALIFIERS = "uri", "qualifiers"
#: A URI with its qualifiers; they are kept in the ref's record.
MAX_NAME_BYTES = 64 * 1024


class _Way(NamedTuple):
    """How one half of the API, blobs or directories, names things."""

    urn: str
    kind: int
    element: str


_BLOBS = _Way(ARTIFACT_URN, ARTIFACT, "blob")
_DIRECTORIES = _Way(DIRECTORY_URN, DIRECTORY, "directory")


class _Name(NamedTuple):
    """One URI of a request as a ref. ``own``: the ref is an artifact's."""

    uri: str
    ref: Ref
    own: bool


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
        found = self._find(request, _BLOBS, context)
        blob = message_of(self._refs.objects.directory(found.record.root))
        if blob is None:
            raise ArtifactNotFound("it stands for no blob", f"uri {found.uri[:200]!r}")
        return wire.FetchBlobResponse(
            status=status_pb2.Status(code=OK),
            uri=found.uri,
            qualifiers=request.qualifiers,
            expires_at=_expiry(found.record),
            blob_digest=reapi.Digest(hash=blob.hash, size_bytes=blob.size_bytes),
            digest_function=request.digest_function,
        )

    def fetch_directory(
        self, request: wire.FetchDirectoryRequest, context: grpc.ServicerContext
    ) -> wire.FetchDirectoryResponse:
        """The root that the first known URI names, likewise."""
        found = self._find(request, _DIRECTORIES, context)
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
            root_directory_digest=reapi.Digest(hash=root.hash, size_bytes=root.size_bytes),
            digest_function=request.digest_function,
        )

    def _find(self, request: FetchRequest, way: _Way, context: grpc.ServicerContext) -> _Found:
        """The first URI of the request that is here. Raises ArtifactNotFound with the reason of the last."""
        qualifiers = _checked(request)
        oldest_ms = 0
        if request.HasField("oldest_content_accepted"):
            oldest_ms = _milliseconds(request.oldest_content_accepted)
        miss: Exception = ArtifactNotFound("no such asset")
        for uri in request.uris:
            try:
                name = _name(uri, qualifiers, way)
            except InvalidRequest as fault:
                miss = ArtifactNotFound(fault.what, fault.where)  # nothing is bound to such a name
                continue
            kind = way.kind if name.own else BLOB
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
        names = _names(request, _BLOBS)
        blob = checked_digest(request.blob_digest)
        blobs, directories = _references(request)

        def artifact() -> Content:
            if blob.size_bytes > MAX_MESSAGE_BYTES:
                raise invalid("it is too large for an Artifact message", where=f"blob {blob}")
            view = artifact_view(self._refs.objects.read(blob), blob)
            return Content((view.root,), ARTIFACT, view.messages)

        def asset() -> Content:
            view = asset_view(blob=blob, blobs=blobs, directories=directories)
            return Content((view.root,), BLOB, view.messages)

        self._publish(request, names, own=artifact, other=asset, context=context)
        return wire.PushBlobResponse()

    def push_directory(
        self, request: wire.PushDirectoryRequest, context: grpc.ServicerContext
    ) -> wire.PushDirectoryResponse:
        """Bind every URI to a directory tree."""
        refuse_when_read_only(context, read_only=self._read_only)
        names = _names(request, _DIRECTORIES)
        root = checked_digest(request.root_directory_digest)
        blobs, directories = _references(request)

        def tree() -> Content:
            further = [digest for digest in directories if digest != root]
            if not blobs and not further:
                return Content((root,), DIRECTORY)
            view = asset_view(blobs=blobs, directories=further)
            return Content((root, view.root), DIRECTORY, view.messages)

        def asset() -> Content:
            view = asset_view(directory=root, blobs=blobs, directories=directories)
            return Content((view.root,), BLOB, view.messages)

        self._publish(request, names, own=tree, other=asset, context=context)
        return wire.PushDirectoryResponse()

    def _publish(
        self,
        request: PushRequest,
        names: Sequence[_Name],
        *,
        own: Callable[[], Content],
        other: Callable[[], Content],
        context: grpc.ServicerContext,
    ) -> None:
        labels: dict[str, str] = {}
        if request.HasField("expire_at"):
            labels[EXPIRES_MS] = str(_milliseconds(request.expire_at))
        refs = {name.ref: labels for name in names if name.own}
        if refs:
            self._refs.publish("push-asset", refs, own, context)
        if request.qualifiers:
            labels = {**labels, QUALIFIERS: _canonical(_checked(request))}
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


def _checked(request: FetchRequest | PushRequest) -> list[tuple[str, str]]:
    """The qualifiers, sorted. Raises InvalidRequest for what no request may be."""
    if not request.uris:
        raise invalid("a request without a URI")
    if request.digest_function not in {reapi.DigestFunction.UNKNOWN, reapi.DigestFunction.SHA256}:
        raise invalid("digests are by SHA-256 only", way_out="leave `digest_function` unset")
    qualifiers = sorted((one.name, one.value) for one in request.qualifiers)
    if len({name for name, _ in qualifiers}) < len(qualifiers):
        raise invalid("a qualifier is named twice")
    return qualifiers


def _names(request: PushRequest, way: _Way) -> list[_Name]:
    """All URIs as refs. Raises InvalidRequest when one cannot be one."""
    qualifiers = _checked(request)
    return [_name(uri, qualifiers, way) for uri in request.uris]


def _name(uri: str, qualifiers: list[tuple[str, str]], way: _Way) -> _Name:
    if uri.startswith(way.urn) and not qualifiers:
        return _Name(uri, Ref.parse(uri.removeprefix(way.urn), where="uri"), own=True)
    canonical = _canonical([("uri", uri), *qualifiers])
    if not uri or not uri.isprintable() or len(canonical) > MAX_NAME_BYTES:
        raise invalid("it is no URI, or too long", where=f"uri {uri[:200]!r}")
    key = hashlib.sha256(canonical.encode()).hexdigest()
    return _Name(uri, Ref(ASSETS, f"{way.element}-{key[:2]}", key), own=False)


def _canonical(pairs: list[tuple[str, str]]) -> str:
    return json.dumps(pairs, separators=(",", ":"))  # ASCII whatever is in it


def _references(request: PushRequest) -> tuple[list[Digest], list[Digest]]:
    return _digests(request.references_blobs), _digests(request.references_directories)


def _digests(messages: Iterable[reapi.Digest]) -> list[Digest]:
    return [checked_digest(message) for message in messages]


def _milliseconds(time: Timestamp) -> int:
    return time.seconds * 1000 + time.nanos // 1_000_000


def _expiry(record: RefRecord) -> Timestamp | None:
    expires_ms = record.labels.get(EXPIRES_MS)
    if expires_ms is None:
        return None
    seconds, milliseconds = divmod(int(expires_ms), 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)
