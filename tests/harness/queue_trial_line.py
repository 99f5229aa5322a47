"""A line to a gRPC server that is as slow as one wants, counts what goes over it, and reads HTTP/2 frames."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
#: What RFC 9113 section 6 calls the types of frames that count here.
_NAMES = {0: "DATA", 1: "HEADERS", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 7: "GOAWAY"}
_ACKNOWLEDGED = 1
_KEPT_BYTES = 256


class Frames:
    """Counts the frames of one direction of one connection as they come, in pieces of any size."""

    def __init__(self, counts: Counter[str], goodbyes: list[str], *, from_client: bool) -> None:
        self._counts, self._goodbyes = counts, goodbyes
        self._skip = len(PREFACE) if from_client else 0
        self._head = b""
        self._name, self._left = "", 0
        self._body = b""

    def feed(self, data: bytes) -> None:
        """The next piece of the stream."""
        at = min(self._skip, len(data))
        self._skip -= at
        while at < len(data) or (self._name and not self._left):
            if self._name:
                piece = data[at : at + self._left]
                self._body += piece[: _KEPT_BYTES - len(self._body)]
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._over()
                continue
            wanted = _HEAD_BYTES - len(self._head)
            self._head += data[at : at + wanted]
            at += wanted
            if len(self._head) == _HEAD_BYTES:
                self._begin()

    def _begin(self) -> None:
        kind, flags = self._head[3], self._head[4]
        self._left = int.from_bytes(self._head[:3])
        self._name = _NAMES.get(kind, "other")
        if self._name == "PING" and flags & _ACKNOWLEDGED:
            self._name = "PING answer"
        self._head = self._body = b""

    def _over(self) -> None:
        self._counts[self._name] += 1
        if self._name == "GOAWAY":
            code = int.from_bytes(self._body[4:8])
            self._goodbyes.append(f"{code} {self._body[8:].decode(errors='replace')}".strip())
        self._name = ""


class Line:
    """Connects whoever comes to ``url`` with ``address``.

    ``up`` and ``down`` count bytes to and from the server; ``frames`` by who sent them, ``goodbyes`` what a
    server said in GOAWAY; ``opened`` and ``open`` count connections. With ``bytes_per_s`` each direction of
    all connections together is no faster.
    """

    def __init__(self, address: str, *, bytes_per_s: float = 0.0) -> None:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        self._server = (host, int(port))
        self._bytes_per_s = bytes_per_s
        self._free_at = {"up": 0.0, "down": 0.0}
        self._guard = threading.Lock()
        self.bytes = {"up": 0, "down": 0}
        self.frames: dict[str, Counter[str]] = {"up": Counter(), "down": Counter()}
        self.goodbyes: list[str] = []
        self.opened = self.open = 0
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
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
            with self._guard:
                self._ends += [client, server]
                self.opened += 1
                self.open += 1
            self._thread(self._carry, client, server, "up")
            self._thread(self._carry, server, client, "down")

    def _carry(self, source, sink, way) -> None:
        counts = Counter()
        frames = Frames(counts, self.goodbyes, from_client=way == "up")
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                frames.feed(data)
                with self._guard:
                    self.bytes[way] += len(data)
                    self.frames[way] += counts
                    counts.clear()
                self._wait(len(data), way)
                sink.sendall(data)
        _break(source)
        _break(sink)
        if way == "up":
            with self._guard:
                self.open -= 1

    def _wait(self, size_bytes, way) -> None:
        """Until this piece would have gone over a line of that speed."""
        if not self._bytes_per_s:
            return
        with self._guard:
            now = time.monotonic()
            due = max(self._free_at[way], now) + size_bytes / self._bytes_per_s
            self._free_at[way] = due
        time.sleep(due - now)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
