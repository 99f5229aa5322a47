"""One gRPC channel to one remote: made when first used, for the process that uses it (lessons B.1)."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import grpc

from caskeeper.errors import ConfigInvalid, RemoteUnavailable
from worker import status
from worker.protocols import CHUNK_BYTES, FRAME_BYTES
from worker.remote.address import checked_instance_name, parse_url, place_of
from worker.remote.credentials import Credentials
from worker.remote.handshake import explain
from worker.remote.token import BearerToken

if TYPE_CHECKING:
    from caskeeper.config.remotes import RemoteSpec
    from worker.remote.address import Address
    from worker.remote.methods import Answered, Asked, Method

#: Payloads are at most 1 MiB, some servers stream in 4 MiB; a lying one gets no further than this.
RECEIVE_LIMIT_BYTES = 16 * 1024 * 1024

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", RECEIVE_LIMIT_BYTES),
    ("grpc.max_send_message_length", RECEIVE_LIMIT_BYTES),
    # Servers put up with one ping in 300 s and only during calls; more often is answered by GOAWAY
    # «too_many_pings». A peer that fell silent is found by deadlines and the watchdog, not by pings.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # What a stream may send ahead of its reader. By default the library lets it grow with what the line
    # carries, on a fast one to hundreds of MiB of memory (4 x 512 MiB on loopback: 690 MiB instead of 110).
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", CHUNK_BYTES),
    # A piece in one frame, not in 64 of them.
    ("grpc.http2.max_frame_size", FRAME_BYTES),
    # A connection of its own: a failed one is not shared through the process-wide pool.
    ("grpc.use_local_subchannel_pool", 1),
    # The default waits up to two minutes before it connects to a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.service_config_disable_resolution", 1),
)


class Connection:
    """The channel of a spec. Safe to use from several threads of one process.

    A bad url or instance name is refused here; certificate files are read when the channel is made.
    """

    def __init__(self, spec: RemoteSpec) -> None:
        self.address = parse_url(spec.url)
        self.url = self.address.url
        self.instance_name = checked_instance_name(spec.instance_name, url=self.url)
        self._spec = spec
        self._token = _token(spec, self.address)
        self._lock = threading.Lock()
        self._pid = 0
        self._closed = False
        self._channel: grpc.Channel | None = None
        self._retired: grpc.Channel | None = None
        #: what the channel was made with; None without TLS or a channel
        self._credentials: Credentials | None = None
        self._calls: dict[str, Any] = {}

    def unary(self, method: Method[Asked, Answered]) -> grpc.UnaryUnaryMultiCallable[Asked, Answered]:
        """The callable of a method with one request and one answer."""
        return self._callable(method, "unary_unary")  # type: ignore[no-any-return]

    def reader(self, method: Method[Asked, Answered]) -> grpc.UnaryStreamMultiCallable[Asked, Answered]:
        """The callable of a method that answers with a stream."""
        return self._callable(method, "unary_stream")  # type: ignore[no-any-return]

    def writer(self, method: Method[Asked, Answered]) -> grpc.StreamUnaryMultiCallable[Asked, Answered]:
        """The callable of a method that is sent a stream."""
        return self._callable(method, "stream_unary")  # type: ignore[no-any-return]

    def _callable(self, method: Method[Asked, Answered], shape: str) -> Any:
        if self._pid and self._pid != os.getpid():
            # A bug of ours, not trouble of the remote's: gRPC would hang past every deadline here.
            raise RuntimeError(
                f"the connection to {self.url} was opened by process {self._pid} and is used by its "
                f"child {os.getpid()} after a fork: open one per process, through a RemotePool"
            )
        with self._lock:
            if self._closed:
                raise RemoteUnavailable("the connection was closed here", self.url)
            if self._channel is None:
                self._channel = self._open()
                self._pid = os.getpid()
            if method.path not in self._calls:
                call = getattr(self._channel, shape)(
                    method.path,
                    request_serializer=method.request.SerializeToString,
                    response_deserializer=method.answer.FromString,
                )
                self._calls[method.path] = call if self._token is None else _Authorised(call, self._token)
            return self._calls[method.path]

    @property
    def closed(self) -> bool:
        """Whether we ended it: what then fails is no fault of the remote's."""
        return self._closed

    def explain(self, message: str) -> ConfigInvalid | None:
        """The error when ``message``, gRPC's of a failed connection, is about TLS and nothing mends itself.

        The next use then makes a new channel, from the files as they are by then.
        """
        trouble = explain(self._spec, self.address, message)
        if trouble is not None:
            with self._lock:
                self._retire()
        return trouble

    def renewed(self, code: int) -> bool:
        """Whether files were renewed, and a call that ended with ``code`` would now show something else."""
        if code == status.UNAUTHENTICATED:
            return self._token is not None and self._token.renewed()
        if code != status.UNAVAILABLE or self._credentials is None:
            return False
        with contextlib.suppress(ConfigInvalid):  # half-way replaced: next time
            found = Credentials.read(self._spec, url=self.url)
            with self._lock:
                if found != self._credentials:
                    self._retire()
                    return True
        return False

    def _retire(self) -> None:
        """The next call makes a new channel; the old one stays for calls that run, until the next goes."""
        retired, self._retired = self._retired, self._channel
        self._channel, self._calls, self._credentials = None, {}, None
        if retired is not None:
            retired.close()

    def _open(self) -> grpc.Channel:
        if self.address.secure:
            self._credentials = Credentials.read(self._spec, url=self.url)
            return grpc.secure_channel(
                self.address.target, self._credentials.of_channel(), options=self._options()
            )
        return grpc.insecure_channel(self.address.target, options=self._options())

    def _options(self) -> tuple[tuple[str, int], ...]:
        keepalive_s = self._spec.connection.keepalive_time_s
        if keepalive_s is None:
            return OPTIONS
        asked = {
            "grpc.keepalive_time_ms": keepalive_s * 1000,
            # Without this only two pings go out while no data does, and the setting would be none.
            "grpc.http2.max_pings_without_data": 0,
        }
        return tuple({**dict(OPTIONS), **asked}.items())

    def close(self) -> None:
        """End every call under way. In a forked child nothing happens: the channel is the parent's."""
        if self._pid and self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            for channel in (self._channel, self._retired):
                if channel is not None:
                    channel.close()


class _Authorised:
    """A callable of gRPC's whose calls carry the token of this moment."""

    def __init__(self, call: Any, token: BearerToken) -> None:
        self._call = call
        self._token = token

    def __call__(self, request: Any, timeout: float | None = None) -> Any:
        return self._call(request, timeout=timeout, metadata=self._token.metadata())

    def future(self, request: Any, timeout: float | None = None) -> Any:
        return self._call.future(request, timeout=timeout, metadata=self._token.metadata())


def _token(spec: RemoteSpec, address: Address) -> BearerToken | None:
    """Raises ConfigInvalid for a token that anybody on the way could read."""
    if spec.access_token is None:
        return None
    place = place_of(spec, url=address.url)
    if not (address.secure or address.loopback):
        raise ConfigInvalid(
            "an access token is not sent over a connection without TLS", place, "use https://, or no token"
        )
    return BearerToken(spec, path=spec.access_token, place=place)
