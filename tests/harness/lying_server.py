"""A real gRPC artifact server over loopback that is honest until told otherwise.

All lies are attributes and may change while it runs. ``calls`` lists what arrived: (method, request), for
a Write its first request.
"""

# ruff: noqa: N802 -- the methods have the names of the interface

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import grpc
from harness import lying_indexes

from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as bytestream
from worker._protos import bytestream_pb2_grpc as bytestream_services
from worker._protos import reference_storage_pb2 as references
from worker._protos import reference_storage_pb2_grpc as reference_services
from worker._protos import remote_asset_pb2_grpc as asset_services
from worker._protos import remote_execution_pb2 as reapi
from worker._protos import remote_execution_pb2_grpc as reapi_services

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK_BYTES = 256 * 1024


class LyingServer:
    """Content and names in dictionaries, behind the four services of BuildStream 1's servers.

    ``indexes`` and ``holds`` say what it offers instead; `remote-asset-push` is a service of its own.
    """

    def __init__(
        self, *contents: bytes, indexes: Sequence[str] = ("reference-storage",), holds: bool = True
    ) -> None:
        self.indexes, self.holds = indexes, holds
        #: ("Blob" or "Directory", URI) -> digest, what was pushed with a URI, hash of an action -> result
        self.assets: dict[tuple[str, str], Digest] = {}
        self.references: dict[str, tuple[list[Digest], list[Digest]]] = {}
        self.actions: dict[str, reapi.ActionResult] = {}
        #: 0: a URI that is not there is NOT_FOUND as the status of the call, else this stands in the answer
        self.inner_status = 0
        self.blobs: dict[str, bytes] = {Digest.of(content).hash: content for content in contents}
        self.refs: dict[str, Digest] = {}
        self.calls: list[tuple[str, object]] = []
        #: what came as `authorization`, by method, and the only one that is accepted
        self.tokens: list[tuple[str, str | None]] = []
        self.token: str | None = None
        #: method -> status code it answers, for ever or as often as ``times`` says
        self.answers: dict[str, grpc.StatusCode] = {}
        self.times: dict[str, int] = {}
        #: methods that never answer; ``greets``: the empty question of a first contact they do
        self.hangs: set[str] = set()
        self.greets = False
        #: trailing metadata of every ``answers``
        self.trailer: tuple[tuple[str, bytes], ...] = ()
        #: hash -> codes its entries in batches get, one after the other
        self.entry_codes: dict[str, list[int]] = {}
        #: every Read takes one: it sends so many bytes and breaks off
        self.breaks: list[int] = []
        #: after so many bytes a Read says nothing more / a Write takes nothing more
        self.stalls_after: int | None = None
        #: while it is true a Read goes on, and never ends: a byte every tenth of a second
        self.drips = False
        self.wrong_bytes = False
        self.cut_bytes = 0
        self.extra_bytes = 0
        self.empty_pieces = 0
        self.unasked_entry = False
        self.allow_updates = True
        self.commits_early = False
        self.commits_bytes: int | None = None
        #: how much of an upload that broke off it says to have; it has nothing
        self.keeps_bytes: int | None = None
        #: what it states, and what it holds batches to
        self.batch_limit = 0
        self.enforced_limit = 0
        self.digest_functions = [reapi.DigestFunction.SHA256]
        self.compressors: list[int] = []
        self.message_limit = 4 * 1024 * 1024
        #: with them it speaks TLS
        self.credentials: grpc.ServerCredentials | None = None
        self.port: int | str = 0
        #: hashes whose Write was finished, right or wrong; and whether a Write call has ended at all
        self.finished: list[str] = []
        self.write_ended = threading.Event()
        self.over = threading.Event()
        self.guard = threading.Lock()

    def __enter__(self) -> Self:
        self.pool = ThreadPoolExecutor(16, "lying-server")
        self.server = grpc.server(
            self.pool,
            options=[("grpc.max_receive_message_length", self.message_limit), ("grpc.so_reuseport", 0)],
        )
        reapi_services.add_CapabilitiesServicer_to_server(_Capabilities(self), self.server)
        if self.holds:
            reapi_services.add_ContentAddressableStorageServicer_to_server(_Cas(self), self.server)
            bytestream_services.add_ByteStreamServicer_to_server(_ByteStream(self), self.server)
        if "reference-storage" in self.indexes:
            reference_services.add_ReferenceStorageServicer_to_server(_References(self), self.server)
        if "remote-asset" in self.indexes:
            asset_services.add_FetchServicer_to_server(lying_indexes.Fetch(self), self.server)
        if "remote-asset-push" in self.indexes:
            asset_services.add_PushServicer_to_server(lying_indexes.Push(self), self.server)
        if "action-cache" in self.indexes:
            reapi_services.add_ActionCacheServicer_to_server(lying_indexes.Actions(self), self.server)
        if self.credentials is None:
            self.url = f"http://127.0.0.1:{self.server.add_insecure_port(f'127.0.0.1:{self.port}')}"
        else:
            port = self.server.add_secure_port(f"127.0.0.1:{self.port}", self.credentials)
            self.url = f"https://localhost:{port}"
        self.server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.over.set()
        self.server.stop(0).wait()
        self.pool.shutdown()

    def add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.blobs[digest.hash] = content
        return digest

    def count(self, method: str) -> int:
        """How often a method was called with something in it; negotiation is not counted."""
        return sum(1 for name, request in self.calls if name == method and not _is_probe(request))

    def called(self, method: str, request: object, context: grpc.ServicerContext) -> None:
        token = dict(context.invocation_metadata()).get("authorization")
        with self.guard:
            self.calls.append((method, request))
            self.tokens.append((method, token))
            code = self.answers.get(method)
            if self.token is not None and token != f"Bearer {self.token}":
                code = grpc.StatusCode.UNAUTHENTICATED
            left = self.times.get(method)
            if left is not None:
                self.times[method] = left - 1
                if left <= 0:
                    code = None
        if method in self.hangs and not (self.greets and _is_probe(request)):
            self.over.wait()
        if code is not None:
            context.set_trailing_metadata(self.trailer)
            context.abort(code, f"{method} refuses\nby \x1b[31morder")

    def lie(self, content: bytes) -> bytes:
        if self.wrong_bytes and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        if self.cut_bytes:
            content = content[: -self.cut_bytes]
        return content + b"x" * self.extra_bytes

    def entry_code(self, hash_hex: str, honest: int) -> int:
        with self.guard:
            codes = self.entry_codes.get(hash_hex)
            return codes.pop(0) if codes else honest


def _is_probe(request: object) -> bool:
    if isinstance(request, reapi.BatchReadBlobsRequest):
        return not request.digests
    if isinstance(request, reapi.BatchUpdateBlobsRequest):
        return not request.requests
    return False


class _Capabilities(reapi_services.CapabilitiesServicer):
    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def GetCapabilities(self, request, context):
        self.world.called("GetCapabilities", request, context)
        return reapi.ServerCapabilities(
            cache_capabilities=reapi.CacheCapabilities(
                digest_functions=self.world.digest_functions,
                max_batch_total_size_bytes=self.world.batch_limit,
                supported_compressors=self.world.compressors,
                action_cache_update_capabilities=reapi.ActionCacheUpdateCapabilities(
                    update_enabled="action-cache" in self.world.indexes and self.world.allow_updates
                ),
            )
        )


class _Cas(reapi_services.ContentAddressableStorageServicer):
    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def FindMissingBlobs(self, request, context):
        self.world.called("FindMissingBlobs", request, context)
        missing = [digest for digest in request.blob_digests if digest.hash not in self.world.blobs]
        if self.world.unasked_entry:
            missing.append(reapi.Digest(hash="0" * 64, size_bytes=1))
        return reapi.FindMissingBlobsResponse(missing_blob_digests=missing)

    def BatchReadBlobs(self, request, context):
        self.world.called("BatchReadBlobs", request, context)
        self._hold_limit(sum(digest.size_bytes for digest in request.digests), context)
        response = reapi.BatchReadBlobsResponse()
        for digest in request.digests:
            code = self.world.entry_code(digest.hash, 0 if digest.hash in self.world.blobs else 5)
            entry = response.responses.add(digest=digest)
            entry.status.code = code
            if code == 0:
                entry.data = self.world.lie(self.world.blobs[digest.hash])
        if self.world.unasked_entry and request.digests:
            response.responses.add(digest=reapi.Digest(hash="0" * 64, size_bytes=1), data=b"?")
        return response

    def BatchUpdateBlobs(self, request, context):
        self.world.called("BatchUpdateBlobs", request, context)
        self._hold_limit(request.ByteSize(), context)
        response = reapi.BatchUpdateBlobsResponse()
        for asked in request.requests:
            honest = 0 if Digest.of(asked.data) == (asked.digest.hash, asked.digest.size_bytes) else 9
            code = self.world.entry_code(asked.digest.hash, honest)
            if code == 0:
                self.world.blobs[asked.digest.hash] = asked.data
            response.responses.add(digest=asked.digest).status.code = code
        return response

    def _hold_limit(self, size_bytes, context):
        if self.world.enforced_limit and size_bytes > self.world.enforced_limit:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "over the limit")


class _ByteStream(bytestream_services.ByteStreamServicer):
    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def Read(self, request, context):
        world = self.world
        world.called("Read", request, context)
        hash_hex = request.resource_name.split("/")[-2]
        if hash_hex not in world.blobs:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        content = world.lie(world.blobs[hash_hex])[request.read_offset :]
        with world.guard:
            sent_at_most = world.breaks.pop(0) if world.breaks else None
        for _ in range(world.empty_pieces):
            yield bytestream.ReadResponse()
        sent = 0
        while sent < len(content):
            drips = world.drips and sent + 1 < len(content)
            piece = content[sent : sent + (1 if drips else CHUNK_BYTES)]
            if sent_at_most is not None and sent + len(piece) > sent_at_most:
                yield bytestream.ReadResponse(data=piece[: sent_at_most - sent])
                context.abort(grpc.StatusCode.UNAVAILABLE, "broke off")
            if world.stalls_after is not None and sent >= world.stalls_after:
                world.over.wait()
            if drips:
                world.over.wait(0.1)
            yield bytestream.ReadResponse(data=piece)
            sent += len(piece)

    def QueryWriteStatus(self, request, context):
        self.world.called("QueryWriteStatus", request, context)
        if self.world.keeps_bytes is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing is kept")
        return bytestream.QueryWriteStatusResponse(committed_size=self.world.keeps_bytes)

    def Write(self, requests, context):
        world = self.world
        name, content, finished = "", bytearray(), False
        context.add_callback(world.write_ended.set)
        for request in requests:
            if not name:
                name = request.resource_name
                world.called("Write", request, context)
                if world.commits_early:
                    return bytestream.WriteResponse(committed_size=int(name.split("/")[-1]))
            if request.write_offset != len(content) or finished:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "wrong offset")
            content += request.data
            finished = request.finish_write
            if finished:
                world.finished.append(name.split("/")[-2])
            if world.stalls_after is not None and len(content) > world.stalls_after:
                world.over.wait()
        digest = Digest.parse("/".join(name.split("/")[-2:])) if name else None
        if not finished or Digest.of(bytes(content)) != digest:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not what was announced")
        world.blobs[digest.hash] = bytes(content)
        committed = len(content) if world.commits_bytes is None else world.commits_bytes
        return bytestream.WriteResponse(committed_size=committed)


class _References(reference_services.ReferenceStorageServicer):
    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def GetReference(self, request, context):
        self.world.called("GetReference", request, context)
        digest = self.world.refs.get(request.key)
        if digest is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such ref")
        return references.GetReferenceResponse(
            digest=reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)
        )

    def UpdateReference(self, request, context):
        self.world.called("UpdateReference", request, context)
        for key in request.keys:
            self.world.refs[key] = Digest(request.digest.hash, request.digest.size_bytes)
        return references.UpdateReferenceResponse()

    def Status(self, request, context):
        self.world.called("Status", request, context)
        return references.StatusResponse(allow_updates=self.world.allow_updates)


@contextlib.contextmanager
def nobody_listening() -> Iterator[str]:
    """A url whose port is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A url that takes connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"
