"""Whether a worker still consumes: what it tells of itself, and the judgement of one who looks on.

A consumer that hangs, or that holds a connection over which nothing comes any more, is a process that
lives and does nothing until somebody restarts it. It cannot find that out itself.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import NamedTuple

#: So many looks in a row have to show the same before a worker is given up: a minute and a half. After an
#: outage of Redis a healthy one may wait half a minute before it tries again.
LOOKS = 18

_LAYOUT = struct.Struct("<dqq")


class Sign(NamedTuple):
    """The last sign of life: when (monotonic; 0 = none yet), jobs begun until then, jobs held."""

    at: float
    begun: int
    held: int


class Pulse:
    """Written by a worker's consumer, read by the process that watches it: memory both share."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _LAYOUT.size)

    def beat(self, *, begun: int, held: int) -> None:
        """Called in the consumer's event loop, so it stops when that hangs."""
        _LAYOUT.pack_into(self._page, 0, time.monotonic(), begun, held)

    def read(self) -> Sign:
        """The last one."""
        return Sign(*_LAYOUT.unpack_from(self._page))


class Judge:
    """Told what every look showed; says why the worker is to be ended, or ''.

    Counted in looks, not in seconds: where the whole machine stood still the looks did so too. While Redis
    does not answer nothing is said against anybody: a worker that waits for it does what it should.
    """

    def __init__(self, *, children: int, looks: int = LOOKS) -> None:
        self._children = children
        self._looks = looks
        self._before = Sign(0.0, 0, 0)
        self._silent = 0
        self._idle = 0

    def look(self, sign: Sign, queued: int | None) -> str:
        """``queued``: jobs that wait in this worker's lanes; None: Redis does not answer."""
        before, self._before = self._before, sign
        if queued is None:
            self._silent = self._idle = 0
            return ""
        self._silent = self._silent + 1 if sign.at == before.at else 0
        # Who runs as many as it can leaves the rest for others; a silent one is judged by its silence.
        idle = queued > 0 and sign.held < self._children and sign.begun == before.begun
        self._idle = self._idle + 1 if idle else 0
        if self._silent >= self._looks:
            return "its consumer gives no sign of life, and Redis answers"
        if self._idle >= self._looks:
            return f"{queued} jobs wait in its lanes, it is not busy, and takes none"
        return ""
