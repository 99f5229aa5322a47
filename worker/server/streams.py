"""Threads are not for holding: calls that stand still are ended, and streams never take all threads.

A call of the synchronous server holds a thread while it waits for its client. So every wait for the network
is bounded, also that for the one message of a unary call, and so many streams run at once that unary calls
find a thread. What takes long here, on the disk or for room, is our own time and not counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from caskeeper.errors import Busy
from worker.server.answers import invalid, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

#: So long a call may neither take nor deliver a message.
SILENCE_S = 60.0
#: Streams at the same time; more are refused.
STREAMS = 32


class Watch:
    """One call: since when it waits for its client."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.cancel = cancel
        self.waiting_since: float | None = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the network is waited for."""
        self.waiting_since = time.monotonic()
        try:
            yield
        finally:
            self.waiting_since = None


class Streams(grpc.ServerInterceptor):
    """Stands between gRPC and every handler."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(STREAMS)
        self._watches: set[Watch] = set()
        self._guarded: dict[str, Any] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Look after the calls from now on."""
        self._thread.start()

    def close(self) -> None:
        """The calls are over."""
        self._closing.set()
        self._thread.join()

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The handler of a call, under watch."""
        method = details.method
        if method in self._guarded:
            return self._guarded[method]
        handler = continuation(details)
        if handler is not None:  # only methods that exist are kept
            handler = self._guarded[method] = self._guard(handler)
        return handler

    def _guard(self, handler: Any) -> Any:
        """On the wire a single message is a stream of one: as a stream, its coming can be watched."""
        coding = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }

        def unary(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._watched(context) as watch:
                request = _only(requests, watch, context)
            return handler.unary_unary(request, context)

        def upload(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._slot(context), self._watched(context) as watch:
                return handler.stream_unary(_taken(requests, watch), context)

        def download(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._slot(context), self._watched(context) as watch:
                for answer in handler.unary_stream(_only(requests, watch, context), context):
                    with watch.waiting():
                        yield answer

        def exchange(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._slot(context), self._watched(context) as watch:
                for answer in handler.stream_stream(_taken(requests, watch), context):
                    with watch.waiting():
                        yield answer

        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(exchange, **coding)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(download, **coding)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(upload, **coding)
        return grpc.stream_unary_rpc_method_handler(unary, **coding)

    @contextlib.contextmanager
    def _slot(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            refuse(
                context,
                grpc.StatusCode.UNAVAILABLE,
                Busy(f"{STREAMS} streams run already", way_out="try again when others have ended"),
            )
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def _watched(self, context: grpc.ServicerContext) -> Iterator[Watch]:
        watch = Watch(context.cancel)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def _run(self) -> None:
        while not self._closing.wait(min(1.0, SILENCE_S / 4)):
            now_s = time.monotonic()
            for watch in self._watches.copy():
                since = watch.waiting_since
                if since is not None and now_s - since > SILENCE_S:
                    log.warning("a call stood still and was ended")
                    self._watches.discard(watch)
                    watch.cancel()


def _only(requests: Iterator[Any], watch: Watch, context: grpc.ServicerContext) -> Any:
    with watch.waiting():
        request = next(requests, None)
    if request is None:
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, invalid("a call without a request"))
    return request


def _taken(requests: Iterator[Any], watch: Watch) -> Iterator[Any]:
    while True:
        with watch.waiting():
            request = next(requests, None)
        if request is None:
            return
        yield request
