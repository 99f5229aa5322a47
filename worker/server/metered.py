"""Every call in numbers: how it ended, how long it took, how much content it carried."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from worker.batch_messages import BatchReadResponse
from worker.batch_reading import BatchUpdate
from worker.telemetry.metrics import note, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

IN, OUT = "in", "out"
#: In place of the name of a method that there is not.
OTHER = "other"


class Metered(grpc.ServerInterceptor):
    """The outermost: what the others refuse is counted too.

    Only methods of ``services`` have a name here: whoever is refused may ask for whatever comes to mind.
    """

    def __init__(self, services: Sequence[grpc.GenericRpcHandler]) -> None:
        self._services = tuple(services)
        self._made: dict[str, tuple[Any, Any]] = {}

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The handler of a call, metered."""
        handler = continuation(details)
        if handler is None:
            return None
        inner, metered = self._made.get(details.method, (None, None))
        if inner is not handler:
            if not any(service.service(details) for service in self._services):
                return _meter(OTHER, handler)
            metered = _meter(details.method.lstrip("/").rpartition(".")[2], handler)
            self._made[details.method] = handler, metered
        return metered


class _Call:
    """One call while it runs."""

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        self._method = method
        self._begun = time.monotonic()
        self._bytes = {IN: 0, OUT: 0}
        self.answered = False
        # Called in every case, also when the client went away in the middle; the code is set by then.
        if not context.add_callback(lambda: self._over(context)):
            self._over(context)

    def carried(self, direction: str, message: Any) -> Any:
        """The message, weighed."""
        self._bytes[direction] += content_bytes(message)
        return message

    def _over(self, context: Any) -> None:
        # Neither answered nor refused: the client went away.
        code = context.code() or (grpc.StatusCode.OK if self.answered else grpc.StatusCode.CANCELLED)
        samples = [
            sample("caskeeper_server_calls", method=self._method, code=getattr(code, "name", str(code))),
            sample("caskeeper_server_call_seconds", time.monotonic() - self._begun, method=self._method),
        ]
        samples += [
            sample("caskeeper_server_bytes", size_bytes, direction=direction)
            for direction, size_bytes in self._bytes.items()
            if size_bytes
        ]
        note(samples)


def content_bytes(message: Any) -> int:
    """What a message carries of blobs, as it is on the wire: a piece of a stream, or a batch."""
    if isinstance(message, BatchReadResponse | BatchUpdate):
        return message.content_bytes
    data = getattr(message, "data", None)
    if isinstance(data, bytes | memoryview):
        return len(data)
    parts = getattr(message, "requests", None) or getattr(message, "responses", None) or ()
    if not parts or not isinstance(getattr(parts[0], "data", None), bytes):
        return 0
    return sum([len(part.data) for part in parts])


def _meter(method: str, handler: Any) -> Any:
    coding = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }

    def incoming(call: _Call, requests: Any) -> Any:
        if handler.request_streaming:
            return (call.carried(IN, request) for request in requests)
        return call.carried(IN, requests)

    def one(requests: Any, context: grpc.ServicerContext) -> Any:
        call = _Call(method, context)
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        answer = call.carried(OUT, behaviour(incoming(call, requests), context))
        call.answered = True
        return answer

    def many(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = _Call(method, context)
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
        for answer in behaviour(incoming(call, requests), context):
            yield call.carried(OUT, answer)
        call.answered = True

    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(many, **coding)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(many, **coding)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(one, **coding)
    return grpc.unary_unary_rpc_method_handler(one, **coding)
