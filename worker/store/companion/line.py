"""One end of a pair of sockets, for whole messages. Putting one never waits.

Both sides may have a large message for the other at once: whoever waited there until all of it is taken, and
did not listen meanwhile, could wait for ever.
"""

from __future__ import annotations

import pickle
import select
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_LENGTH = struct.Struct("!Q")
_PIECE_BYTES = 256 * 1024


class Line:
    """For one thread at a time."""

    def __init__(self, end: socket.socket, *, peer: int = -1) -> None:
        """``peer``: a descriptor that becomes readable when the other process has ended.

        Somebody who was forked from it may still have its end of the line.
        """
        end.setblocking(False)
        self._end = end
        self._peer = peer
        self._out = bytearray()
        self._in = bytearray()
        self._poll = select.poll()
        self._poll.register(end.fileno(), select.POLLIN)
        if peer >= 0:
            self._poll.register(peer, select.POLLIN)

    def close(self) -> None:
        """What was put and not taken is lost."""
        self._end.close()

    def put(self, message: object) -> None:
        """It leaves as soon as the other side takes it, while this one gets or drains. OSError."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._out += _LENGTH.pack(len(data))
        self._out += data
        self._flush()

    def drain(self) -> None:
        """Until all has left. EOFError, OSError."""
        while self._out:
            self._move(None)

    def get(self, wait_s: float | None) -> object | None:
        """The next message; None: it has not come within that time. EOFError, OSError."""
        end_s = None if wait_s is None else time.monotonic() + wait_s
        while (message := self._whole()) is None:
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            if not self._move(left_s):
                return None
        return message

    def _move(self, wait_s: float | None) -> bool:
        """Send and take what can be, after waiting for that; False: nothing could."""
        ready = self._poll.poll(None if wait_s is None else wait_s * 1000)
        for fd, event in ready:
            if fd == self._peer:
                raise EOFError("the other process has ended")
            if event & select.POLLOUT:
                self._flush()
            if event & ~select.POLLOUT:
                self._take()
        return bool(ready)

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._end.send(self._out)]
        except BlockingIOError:
            pass
        self._poll.modify(self._end.fileno(), select.POLLIN | (select.POLLOUT if self._out else 0))

    def _take(self) -> None:
        try:
            piece = self._end.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        if not piece:
            raise EOFError("the other end is closed")
        self._in += piece

    def _whole(self) -> object | None:
        if len(self._in) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._in)[0]
        if len(self._in) < end:
            return None
        data = bytes(memoryview(self._in)[_LENGTH.size : end])
        del self._in[:end]
        try:
            message: object = pickle.loads(data)  # noqa: S301 -- from our own process, over our own socket
        except Exception as error:  # whatever a class does to be made again
            raise EOFError(f"it is not understood: {error}") from error
        return message
