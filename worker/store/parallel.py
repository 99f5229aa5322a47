"""Work that unfolds, on a few threads: capture and checkout (speed.md sections 1 and 2).

Two threads, because hashing and the system calls release the interpreter's lock and a third finds no core.
The caller's thread does none of the work: it watches, so that progress, cancellation and signals have one
place, and it leaves only when every thread has ended.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS = 2
#: How often the caller's thread looks, in seconds.
WATCH_S = 0.1

Unit = TypeVar("Unit")


class _Stopped(Exception):
    """Somebody else failed."""


class Crew(Generic[Unit]):
    """``do`` is called for every unit and answers the units that follow from it.

    The newest unit goes first, so a tree is walked in depth and little is waiting at any time. The first
    failure stops all.
    """

    def __init__(self, do: Callable[[Unit], Iterable[Unit]], watch: Callable[[], None]) -> None:
        """``watch`` is called by the caller's thread several times a second; what it raises stops all."""
        self._do = do
        self._watch = watch
        self._waiting: list[Unit] = []
        self._busy = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def run(self, units: Iterable[Unit]) -> None:
        """Do all of it. Raises the first failure, after every thread has ended."""
        self._waiting.extend(units)
        threads = [threading.Thread(target=self._work, name=f"crew-{number}") for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            while not self._wait():
                self._watch()
            self._watch()
        except BaseException as failure:
            self._fail(failure)
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """For long units: returns as long as the work goes on."""
        if self._failure is not None:
            raise _Stopped

    def _wait(self) -> bool:
        """Whether the work has ended, after waiting a moment for that."""
        with self._changed:
            return self._changed.wait_for(self._ended, timeout=WATCH_S)

    def _ended(self) -> bool:
        return self._failure is not None or not (self._waiting or self._busy)

    def _fail(self, failure: BaseException) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = failure
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._ended())
                    if self._failure is not None or not self._waiting:
                        return
                    unit = self._waiting.pop()
                    self._busy += 1
                following = list(self._do(unit))
                with self._changed:
                    self._waiting.extend(following)
                    self._busy -= 1
                    if following or not self._busy:
                        self._changed.notify_all()
        except _Stopped:
            pass
        except BaseException as failure:  # noqa: BLE001 -- raised again by the caller's thread
            self._fail(failure)
