"""Calls that are repeated while something lasts, such as the renewal of a lease while a job runs.

The threads are kept for the next job: to start one and to end it takes longer than what most jobs have to do,
and most end before their first renewal. A thread that has nothing to repeat is not woken for that either.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("caskeeper.worker")


class _Repeater:
    """One thread and what it repeats now, if anything."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._call: Callable[[], bool] | None = None
        self._every_s = self._due = 0.0
        #: until when the thread sleeps if nobody wakes it
        self._wakes = float("inf")
        self._calling = False
        self._thread = threading.Thread(target=self._run, name="repeating", daemon=True)
        self._thread.start()

    def begin(self, call: Callable[[], bool], every_s: float) -> None:
        with self._changed:
            self._call, self._every_s = call, every_s
            self._due = time.monotonic() + every_s
            if self._due < self._wakes:
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._call = None
            self._changed.wait_for(lambda: not self._calling)

    def _run(self) -> None:
        while True:
            with self._changed:
                call = self._next()
                self._calling = True
            goes_on = False
            try:
                goes_on = call()
            except Exception as bug:  # noqa: BLE001 -- the thread is others' as well
                log.fault("what was repeated failed", bug)
            with self._changed:
                self._calling = False
                self._due = time.monotonic() + self._every_s
                if not goes_on and self._call is call:
                    self._call = None
                self._changed.notify_all()

    def _next(self) -> Callable[[], bool]:
        """What is due, once it is. Whoever ends it meanwhile wakes nobody."""
        while True:
            now = time.monotonic()
            self._wakes = float("inf") if self._call is None else self._due
            if self._call is not None and self._wakes <= now:
                return self._call
            self._changed.wait(None if self._call is None else self._wakes - now)


#: The process and its threads that have nothing to do: those of another one did not come through its fork.
_resting: tuple[int, list[_Repeater]] = (0, [])


def _taken() -> tuple[list[_Repeater], _Repeater]:
    global _resting  # noqa: PLW0603 -- one list a process
    if _resting[0] != os.getpid():
        _resting = (os.getpid(), [])
    rest = _resting[1]
    try:
        return rest, rest.pop()
    except IndexError:
        return rest, _Repeater()


class Repeated:
    """``call`` every so many seconds from now on, until it answers False or this is ended."""

    def __init__(self, call: Callable[[], bool], *, every_s: float) -> None:
        self._rest, self._repeater = _taken()
        self._over = False
        self._repeater.begin(call, every_s)

    def end(self) -> None:
        """It is called no more; a call under way is waited for. Twice is as once."""
        if not self._over:
            self._over = True
            self._repeater.end()
            self._rest.append(self._repeater)
