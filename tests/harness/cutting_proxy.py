"""A line on loopback that breaks once a number of bytes has gone one way, and is mended at once."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class CuttingProxy:
    """Connects whoever comes to ``address``. ``cuts``: after so many bytes each connection breaks, in turn.

    ``up``: counted is what goes to the server; else what comes from it. ``sent``: bytes to the server, all in
    all; ``came``: from it. ``before_cut`` is called with how much has gone before the line breaks: what the
    other end has not looked at by then is lost.
    """

    def __init__(
        self,
        address: str,
        *cuts: int,
        up: bool = True,
        before_cut: Callable[[int], object] = lambda _carried: None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._up = up
        self._before_cut = before_cut
        self.cuts = list(cuts)
        self.sent = self.came = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            _break(end)

    def _thread(self, target, *arguments) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            cut = self.cuts.pop(0) if self.cuts else None
            self._thread(self._carry, client, server, True, cut if self._up else None)
            self._thread(self._carry, server, client, False, None if self._up else cut)

    def _carry(self, source, sink, up, cut) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if cut is not None and carried + len(data) > cut:
                    self._before_cut(carried)
                    break
                carried += len(data)
                if up:
                    self.sent += len(data)
                else:
                    self.came += len(data)
                sink.sendall(data)
        _break(source)
        _break(sink)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
