"""``/metrics``, ``/healthz`` and ``/readyz`` over HTTP (interface section 6).

Healthy means that a restart would not help; ready, that work sent here now would be done. Both answer 200
or 503 and a line that says why. They answer what is known already, so they are cheap and never hang.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from caskeeper.errors import ConfigInvalid
from worker.telemetry.log import Log
from worker.telemetry.registry import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("caskeeper.metrics")

_PLAIN = "text/plain; charset=utf-8"
#: A peer that says nothing for so long is let go.
_SILENCE_S = 10.0
#: So many peers at once. Who drips its question byte by byte makes room for whoever comes then.
MOST_PEERS = 32


def bind(listen: str, where: str = "argument --metrics") -> socket.socket:
    """A socket at HOST:PORT (port 0: any free one). Raises ConfigInvalid."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(found[0], found[1])
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(found[4])
            bound.listen(64)
        except OSError:
            bound.close()
            raise
    except (OSError, ValueError) as refused:
        raise ConfigInvalid(
            f"metrics cannot be told at {listen[:100]}: {getattr(refused, 'strerror', None) or refused}",
            where,
            "name a free address of this host as HOST:PORT; port 0 takes any free one",
        ) from refused
    return bound


def address_of(bound: socket.socket) -> str:
    """HOST:PORT as it is asked."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Endpoint:
    """Answers from threads of its own: start it where nothing is forked afterwards.

    ``sick`` and ``unready`` answer why, or ''.
    """

    def __init__(
        self,
        bound: socket.socket,
        *,
        render: Callable[[], bytes],
        sick: Callable[[], str],
        unready: Callable[[], str],
    ) -> None:
        pages = {"/healthz": sick, "/readyz": unready}

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENCE_S
            server_version, sys_version = "caskeeper", ""

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, render(), CONTENT_TYPE)
                elif path in pages:
                    why = pages[path]()
                    self._answer(503 if why else 200, f"{why or 'ok'}\n".encode(), _PLAIN)
                else:
                    self._answer(404, b"/metrics /healthz /readyz\n", _PLAIN)

            do_HEAD = do_GET  # noqa: N815 -- the library calls it so

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
                """Scrapes are no news."""

        self.address = address_of(bound)
        self._server = _Server(bound, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """No more answers."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Over a socket that listens already."""

    daemon_threads = True

    def __init__(self, bound: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(bound.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self._peers: list[socket.socket] = []
        self._guard = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer it in a thread; the one that has been here longest goes when there are too many."""
        with self._guard:
            self._peers.append(request)
            gone = self._peers.pop(0) if len(self._peers) > MOST_PEERS else None
        if gone is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                gone.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """It was answered, or went away."""
        with self._guard:
            if request in self._peers:
                self._peers.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away in the middle is its own affair; all else is ours."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            log.fault("a question over HTTP has no answer", error)
