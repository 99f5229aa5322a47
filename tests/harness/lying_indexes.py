"""The ref indexes of BuildStream 2 and of remote execution, for a LyingServer."""

# ruff: noqa: N802 -- the methods have the names of the interface

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.rpc import status_pb2

from caskeeper.digest import Digest
from worker._protos import remote_asset_pb2 as assets
from worker._protos import remote_asset_pb2_grpc as asset_services
from worker._protos import remote_execution_pb2 as reapi
from worker._protos import remote_execution_pb2_grpc as reapi_services

if TYPE_CHECKING:
    from harness.lying_server import LyingServer

NOT_FOUND = 5
V1 = "urn:fdc:buildstream.build:2020:v1:"
ARTIFACT = "urn:fdc:buildstream.build:2020:artifact:"


def plain(digest):
    return Digest(digest.hash, digest.size_bytes)


def sent(digest):
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


class Fetch(asset_services.FetchServicer):
    """``world.assets`` by URI; misses come as status of the call, or within the answer."""

    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def FetchBlob(self, request, context):
        found = self._find("FetchBlob", request, context)
        return assets.FetchBlobResponse(blob_digest=found) if isinstance(found, reapi.Digest) else found[0]

    def FetchDirectory(self, request, context):
        found = self._find("FetchDirectory", request, context)
        if isinstance(found, reapi.Digest):
            return assets.FetchDirectoryResponse(root_directory_digest=found)
        return found[1]

    def _find(self, method, request, context):
        world = self.world
        world.called(method, request, context)
        if not request.uris:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no URI")
        for uri in request.uris:
            if (method.removeprefix("Fetch"), uri) in world.assets:
                return sent(world.assets[method.removeprefix("Fetch"), uri])
        if not world.inner_status:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such asset")
        status = status_pb2.Status(code=world.inner_status, message="said inside")
        return assets.FetchBlobResponse(status=status), assets.FetchDirectoryResponse(status=status)


class Push(asset_services.PushServicer):
    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def PushBlob(self, request, context):
        self._bind("PushBlob", request, request.blob_digest, context)
        return assets.PushBlobResponse()

    def PushDirectory(self, request, context):
        self._bind("PushDirectory", request, request.root_directory_digest, context)
        return assets.PushDirectoryResponse()

    def _bind(self, method, request, digest, context):
        world = self.world
        world.called(method, request, context)
        if not request.uris:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no URI")
        for uri in request.uris:
            world.assets[method.removeprefix("Push"), uri] = plain(digest)
            world.references[uri] = (
                [plain(one) for one in request.references_blobs],
                [plain(one) for one in request.references_directories],
            )


class Actions(reapi_services.ActionCacheServicer):
    """``world.actions`` by the hash of the action."""

    def __init__(self, world: LyingServer) -> None:
        self.world = world

    def GetActionResult(self, request, context):
        self.world.called("GetActionResult", request, context)
        found = self.world.actions.get(request.action_digest.hash)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such action")
        return found

    def UpdateActionResult(self, request, context):
        self.world.called("UpdateActionResult", request, context)
        self.world.actions[request.action_digest.hash] = request.action_result
        return request.action_result
