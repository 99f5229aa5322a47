"""Capabilities: what this server speaks (wire-protocols sections 3 and 12, interface section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from worker._protos import remote_execution_pb2 as reapi
from worker.server.answers import answering
from worker.server.cas import BATCH_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = "build.bazel.remote.execution.v2.Capabilities"


#: zstd came with 2.1; nothing that is asked for here is newer than 2.3.
_LOW, _HIGH = reapi.SemVer(major=2), reapi.SemVer(major=2, minor=3)


def _answer(*, action_cache: bool) -> reapi.ServerCapabilities:
    return reapi.ServerCapabilities(
        cache_capabilities=reapi.CacheCapabilities(
            digest_functions=[reapi.DigestFunction.SHA256],
            action_cache_update_capabilities=reapi.ActionCacheUpdateCapabilities(update_enabled=action_cache),
            max_batch_total_size_bytes=BATCH_LIMIT_BYTES,
            symlink_absolute_path_strategy=reapi.SymlinkAbsolutePathStrategy.ALLOWED,
            supported_compressors=[reapi.Compressor.ZSTD],
            supported_batch_update_compressors=[reapi.Compressor.ZSTD],
        ),
        deprecated_api_version=_LOW,
        low_api_version=_LOW,
        high_api_version=_HIGH,
    )


def handlers(*, action_cache: bool) -> grpc.GenericRpcHandler:
    """The service, ready to be added to a server. ``action_cache``: it takes results of actions."""
    answer = _answer(action_cache=action_cache)
    get: Callable[[reapi.GetCapabilitiesRequest, grpc.ServicerContext], reapi.ServerCapabilities] = answering(
        lambda _request, _context: answer
    )
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetCapabilities": grpc.unary_unary_rpc_method_handler(
                get,
                request_deserializer=reapi.GetCapabilitiesRequest.FromString,
                response_serializer=reapi.ServerCapabilities.SerializeToString,
            )
        },
    )
