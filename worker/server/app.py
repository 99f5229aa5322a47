"""`caskeeper server`: one volume over gRPC (interface section 5).

The synchronous server with a thread pool: hashing and file I/O happen in the handler's thread and release
the interpreter (speed.md section 3).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from caskeeper.config import ServerSettings
from caskeeper.errors import ConfigInvalid
from worker.protocols import CHUNK_BYTES, FRAME_BYTES
from worker.server import capabilities
from worker.server.bytestream import ByteStream
from worker.server.cas import ContentAddressableStorage
from worker.server.health import SERVICE as HEALTH
from worker.server.health import Health, is_serving, reflection_handlers
from worker.server.indexes import ACTION_CACHE, INDEXES
from worker.server.indexes import handlers as index_handlers
from worker.server.listening import cannot_listen
from worker.server.mending import Mender
from worker.server.metered import Metered
from worker.server.published import PublishedRefs
from worker.server.rolling import Rolling
from worker.server.security import Security
from worker.server.streams import STREAMS, Streams
from worker.server.uploads import Uploads
from worker.store.objects import Objects
from worker.store.promises import Promises
from worker.telemetry.happenings import hear

if TYPE_CHECKING:
    from collections.abc import Collection

    from worker.server.needs import Services

#: Calls at the same time, more wait their turn. A stream holds its thread until it ends: some are left.
THREADS = STREAMS + 8

_OPTIONS: list[tuple[str, int]] = [
    # What a stream may send ahead of its reader. Left to itself, gRPC lets it grow with the bandwidth, and
    # eight uploads at once took 850 MB of memory; a fixed piece a stream is as fast.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", CHUNK_BYTES),
    ("grpc.http2.max_frame_size", FRAME_BYTES),
    # A port that is taken is an error, not a lottery between two servers.
    ("grpc.so_reuseport", 0),
    # A client that died without a word frees its thread within a minute.
    ("grpc.keepalive_time_ms", 40_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients that probe a quiet connection are welcome.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class RunningServer:
    """A server that answers until it is stopped."""

    def __init__(
        self, server: grpc.Server, rolling: Rolling, streams: Streams, mender: Mender, *, host: str, port: int
    ) -> None:
        self._server = server
        self._rolling = rolling
        self._streams = streams
        self._mender = mender
        self.port = port
        #: HOST:PORT as a client dials it
        self.address = f"{host}:{port}"

    def stop(self, grace_s: float | None = 5.0) -> None:
        """Take no more calls, let running ones end within ``grace_s``, settle what was stored."""
        self._server.stop(grace_s).wait()
        self._streams.close()
        self._mender.close()
        self._rolling.close()

    def wait(self) -> None:
        """Until somebody stops it."""
        self._server.wait_for_termination()


def _parse_listen(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigInvalid(
            f"{listen[:100]!r} is not an address to listen on",
            "--listen",
            "write HOST:PORT, for example 127.0.0.1:11001; port 0 takes any free one",
        )
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigInvalid(
            f"{listen[:100]!r} is not an address to listen on", "--listen", f"write [{host}]:{port}"
        )
    return host, int(port)


def serve(
    services: Services,
    *,
    listen: str,
    read_only: bool = False,
    security: Security | None = None,
    indexes: Collection[str] = INDEXES,
) -> RunningServer:
    """Serve the volume of ``services`` at ``listen`` (HOST:PORT; port 0: any free one), to all or as secured.

    Raises ConfigInvalid when it cannot listen there, and what the first operation raises.
    """
    host, wanted_port = _parse_listen(listen)
    security = security or Security(ServerSettings())
    objects = Objects(services.volume)
    mender = Mender(services.healing)
    objects.on_damage = mender.report
    services.coordination.events.heard = hear
    grace_s = services.settings.leases.upload_grace_s
    uploads = Uploads()
    rolling = Rolling(
        services.desk, Promises(services.volume), subject=listen, grace_s=grace_s, followers=[uploads]
    )
    streams = Streams()
    offered: list[Any] = [  # the stubs do not know `service_name`
        capabilities.handlers(action_cache=ACTION_CACHE in indexes and not read_only),
        ContentAddressableStorage(objects, rolling, mender, read_only=read_only).handlers(),
        ByteStream(objects, rolling, uploads, mender, read_only=read_only).handlers(),
        *index_handlers(indexes, PublishedRefs(services, objects, rolling), read_only=read_only),
    ]
    names = [handlers.service_name() for handlers in offered]
    health = Health(lambda: is_serving(services), names=names)
    handlers = [*offered, health.handlers(), reflection_handlers([*names, HEALTH])]
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="serve"),
        handlers=handlers,
        interceptors=[Metered(handlers), *security.interceptors, streams],
        options=_OPTIONS,
    )
    try:
        port = security.add_port(server, host=host, port=wanted_port)
    except RuntimeError:
        port = 0
    if port == 0:
        raise cannot_listen(host, wanted_port)
    rolling.start()
    streams.start()
    mender.start()
    try:
        server.start()
    except BaseException:
        streams.close()
        mender.close()
        rolling.close()
        raise
    return RunningServer(server, rolling, streams, mender, host=host, port=port)
