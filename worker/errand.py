"""What one job does over the network: until when, and what is under way when it shall stop.

Calls look for the errand of their thread by themselves, so nothing in between has to hand it on. It looks
whether it is still wanted, and ends every call under way when it is not: nobody waits for the deadline of a
remote that hangs in order to be cancelled.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from caskeeper.errors import Cancelled, CaskeeperError, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: How often it is looked whether the job is still wanted, while calls are under way.
LOOK_S = 0.2


class Errand:
    """One job, or one part of it, which ends by itself. Safe to use from several threads."""

    def __init__(
        self,
        *,
        check: Callable[[], None] = lambda: None,
        budget_s: float | None = None,
        spent_s: float = 0.0,
        parent: Errand | None = None,
    ) -> None:
        """``check`` raises when the work is to stop.

        ``budget_s`` is all the time there is, None = no end; so much of it was spent before.
        """
        self._check = check
        self._budget_s = budget_s
        self._end = None if budget_s is None else time.monotonic() + max(0.0, budget_s - spent_s)
        self._parent = parent
        self._failure: BaseException | None = None
        self._guard = threading.Lock()
        self._under_way: list[Callable[[], object]] = []
        self._looker: threading.Thread | None = None

    def check(self) -> None:
        """Raises Cancelled, LeaseLost or the like when it is to stop, DeadlineExceeded when time is up."""
        if self._failure is not None:
            raise self._failure
        if self._parent is not None:
            self._parent.check()
        self._check()
        if self._end is not None and time.monotonic() >= self._end:
            late = DeadlineExceeded(
                f"the job has used up its time of {self._budget_s or 0:g} s",
                "queue: job-budget",
                "raise `queue: job-budget`, or look why its remotes are slow",
            )
            late.settled = True
            raise late

    def bounded(self, seconds: float) -> float:
        """So long, or what is left and a moment: then it is the errand that ends a call, not its deadline."""
        if self._parent is not None:
            seconds = self._parent.bounded(seconds)
        return seconds if self._end is None else min(seconds, max(0.0, self._end - time.monotonic()) + LOOK_S)

    def stop(self, why: BaseException | None = None) -> None:
        """Every call under way ends now, and none begins."""
        with self._guard:
            self._failure = self._failure or why or Cancelled("another part of the same transfer failed")
            ended, self._under_way = self._under_way, []
        for cancel in ended:
            cancel()

    @contextmanager
    def under_way(self, cancel: Callable[[], object]) -> Iterator[None]:
        """While this lasts ``cancel`` is called when the work is to stop; it must not block."""
        with self._guard:
            stopped = self._failure is not None
            if not stopped:
                self._under_way.append(cancel)
                if self._looker is None:
                    self._looker = threading.Thread(target=self._look, name="errand", daemon=True)
                    self._looker.start()
        if stopped:
            cancel()
        try:
            yield
        finally:
            with self._guard:
                if cancel in self._under_way:
                    self._under_way.remove(cancel)

    def _look(self) -> None:
        """Runs while calls are under way."""
        while True:
            time.sleep(LOOK_S)
            with self._guard:
                if not self._under_way:
                    self._looker = None
                    return
            try:
                self.check()
            except BaseException as failure:  # noqa: BLE001 -- raised in the threads whose calls it ends
                self.stop(failure)


_OF_THIS_THREAD: ContextVar[Errand | None] = ContextVar("errand", default=None)


def current() -> Errand | None:
    """The errand that this thread is on."""
    return _OF_THIS_THREAD.get()


@contextmanager
def errand(
    check: Callable[[], None], *, budget_s: float | None = None, spent_s: float = 0.0
) -> Iterator[Errand]:
    """From here on this thread's calls belong to one errand."""
    with _entered(Errand(check=check, budget_s=budget_s, spent_s=spent_s)) as made:
        yield made


@contextmanager
def part() -> Iterator[Errand]:
    """A part of this thread's errand, to be stopped by itself."""
    with _entered(Errand(parent=current())) as made:
        yield made


@contextmanager
def _entered(made: Errand) -> Iterator[Errand]:
    before = _OF_THIS_THREAD.set(made)
    try:
        yield made
    finally:
        _OF_THIS_THREAD.reset(before)


def check() -> None:
    """As the check of this thread's errand."""
    found = current()
    if found is not None:
        found.check()


def bounded(seconds: float) -> float:
    """So long, or what is left of this thread's errand."""
    found = current()
    return seconds if found is None else found.bounded(seconds)


@contextmanager
def under_way(cancel: Callable[[], object]) -> Iterator[None]:
    """A call of this thread's errand, if it is on one."""
    found = current()
    if found is None:
        yield
    else:
        with found.under_way(cancel):
            yield


def pause(seconds: float) -> None:
    """Sleep, unless the errand ends meanwhile: then its failure is raised."""
    end = time.monotonic() + bounded(seconds)
    while True:
        check()
        left_s = end - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, LOOK_S))


def settle(error: CaskeeperError) -> CaskeeperError:
    """``error``, of which it is known that asking again soon ends the same way."""
    error.settled = True
    return error
