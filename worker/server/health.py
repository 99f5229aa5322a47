"""grpc.health.v1 and server reflection: whether we can serve, and what.

SERVING means that the volume is the one we were started for and that Redis answers. Looked at when somebody
asks, at most once a moment; nobody is told of a state that was not seen.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2 as wire  # type: ignore[import-untyped]  # it comes without types
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]  # likewise
    reflection,
    reflection_pb2,
)

from caskeeper.errors import Busy, CaskeeperError, InvalidRequest
from worker.server.answers import answering, refuse, streaming
from worker.store.format import find_format

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from worker.server.needs import Services

SERVICE = "grpc.health.v1.Health"
REFLECTION = reflection.SERVICE_NAME
#: An answer is as fresh as this, however many ask.
FRESH_S = 1.0
#: Calls that watch for changes: each holds a thread, and one of the streams.
WATCHERS = 4

_SERVING = wire.HealthCheckResponse.SERVING
_NOT_SERVING = wire.HealthCheckResponse.NOT_SERVING


def is_serving(services: Services) -> bool:
    """Whether the volume is there and Redis answers, now."""
    try:
        found = find_format(services.volume.layout)
        services.coordination.ping()
    except CaskeeperError:
        return False
    return found is not None and found.volume_id == services.coordination.volume_id


class Health:
    """Check and Watch for the server ("") and for each of its services, which stand and fall together."""

    def __init__(self, look: Callable[[], bool], *, names: Collection[str]) -> None:
        self._look = look
        self._names = {"", *names}
        self._guard = threading.Lock()
        self._seen = (False, -FRESH_S)
        self._watchers = threading.BoundedSemaphore(WATCHERS)

    def _status(self) -> wire.HealthCheckResponse.ServingStatus:
        with self._guard:
            serving, seen_s = self._seen
            if time.monotonic() - seen_s >= FRESH_S:
                serving = self._look()
                self._seen = serving, time.monotonic()
        return _SERVING if serving else _NOT_SERVING

    def check(
        self, request: wire.HealthCheckRequest, context: grpc.ServicerContext
    ) -> wire.HealthCheckResponse:
        """The state now. NOT_FOUND for a service that is not offered."""
        if request.service not in self._names:
            refuse(context, grpc.StatusCode.NOT_FOUND, _no_such(request.service))
        return wire.HealthCheckResponse(status=self._status())

    def watch(
        self, request: wire.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.HealthCheckResponse]:
        """The state now and whenever it changes, until the client has enough."""
        if not self._watchers.acquire(blocking=False):
            raise Busy(f"{WATCHERS} calls watch already", way_out="use Check")
        try:
            over = threading.Event()
            context.add_callback(over.set)
            told = None
            while not over.is_set():
                known = request.service in self._names
                status = self._status() if known else wire.HealthCheckResponse.SERVICE_UNKNOWN
                if status != told:
                    yield wire.HealthCheckResponse(status=status)
                    told = status
                over.wait(FRESH_S)
        finally:
            self._watchers.release()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        coding = {
            "request_deserializer": wire.HealthCheckRequest.FromString,
            "response_serializer": wire.HealthCheckResponse.SerializeToString,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(answering(self.check), **coding),
                "Watch": grpc.unary_stream_rpc_method_handler(streaming(self.watch), **coding),
            },
        )


def _no_such(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"service {name[:200]!r} is not offered here", way_out="ask for '' or by reflection"
    )


def reflection_handlers(names: Collection[str]) -> grpc.GenericRpcHandler:
    """What `grpcurl` and its like ask: which services there are, and of which messages."""
    servicer = reflection.ReflectionServicer((*names, REFLECTION))
    return grpc.method_handlers_generic_handler(
        REFLECTION,
        {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                streaming(servicer.ServerReflectionInfo),
                request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
                response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        },
    )
