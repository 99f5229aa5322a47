"""The server's operation on the volume, made anew before it gets old (safety.md section 3, Server).

Clients from outside hold no lease. What the server told them is here, or took from them, must stay for
``leases: upload-grace`` (interface section 5), and a cleanup spares whatever is younger than the oldest
operation's folder. So one operation is *current* for one grace and kept for one more:

    age 0 .. grace          current: uploads and refreshes run under it
    age grace .. 2 grace    its successor is current; what was answered under it is still protected

An answer given under an operation is at most one grace old when the operation is, so it is protected for
at least one grace; and no folder gets much older than two, so eviction is never held up for longer.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from caskeeper.errors import CaskeeperError, LeaseLost
from worker.protocols import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.server.needs import Desk, Operation

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: How often reservations become used, and ages are looked at, at the latest.
TURN_S = 5.0


@dataclass(eq=False)
class _Tenure:
    """One operation and the calls that run under it."""

    operation: Operation
    ending: contextlib.ExitStack
    born_s: float
    lost: bool = False
    #: how to stop each call that is using it
    users: dict[object, Callable[[], object]] = field(default_factory=dict)


class Rolling:
    """Lends the current operation to calls. Safe to use from several threads."""

    def __init__(
        self, desk: Desk, *, subject: str, grace_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._subject = subject
        self._grace_s = grace_s
        self._clock = clock
        self._guard = threading.Lock()
        self._tenures: list[_Tenure] = []
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """The first operation, and the thread that follows the clock. Raises what the desk raises."""
        with self._guard:
            self._current()
        self._thread = threading.Thread(target=self._follow, name="rolling", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def lent(self, stop: Callable[[], object]) -> Iterator[Operation]:
        """The current operation for one call; ``stop`` ends that call when it outlives the operation."""
        user = object()
        with self._guard:
            tenure = self._current()
            tenure.users[user] = stop
        try:
            yield tenure.operation
        except LeaseLost:
            tenure.lost = True  # fenced or dying: the next call gets a new one
            raise
        finally:
            with self._guard:
                del tenure.users[user]

    def run(self, work: Callable[[Operation], Result], *, stop: Callable[[], object]) -> Result:
        """``work`` under the current operation; once more under a new one when that turns out to be lost.

        For work that may be done twice (I8) and is small.
        """
        try:
            with self.lent(stop) as operation:
                return work(operation)
        except LeaseLost:
            with self.lent(stop) as operation:
                return work(operation)

    def turn(self) -> None:
        """One look at the clock: open the successor, end who has served, settle what was stored."""
        with self._guard:
            self._current()
            if self._age(self._tenures[-1]) >= self._grace_s:
                self._open()
            ended = [tenure for tenure in self._tenures[:-1] if self._served(tenure)]
            self._tenures = [tenure for tenure in self._tenures if tenure not in ended]
            kept = list(self._tenures)
        for tenure in ended:
            self._end(tenure)
        for tenure in kept:
            if not tenure.lost:
                tenure.operation.settle_part()

    def close(self) -> None:
        """End all operations; calls that still run lose theirs."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            ended, self._tenures = self._tenures, []
        for tenure in ended:
            self._end(tenure)

    def _follow(self) -> None:
        while not self._closing.wait(min(TURN_S, self._grace_s / 4)):
            try:
                self.turn()
            except CaskeeperError as trouble:
                # Nothing was ended without a successor, so nothing is unprotected: next time then.
                log.warning("rolling operation not renewed", extra={"error": str(trouble)})
            except Exception:
                # A bug must not end the thread: an operation that is never ended stops all eviction.
                log.exception("bug in the rolling operation")

    def _current(self) -> _Tenure:
        """The youngest tenure; a new one where there is none or it was lost. Call with the guard held."""
        if self._tenures and not self._tenures[-1].lost:
            try:
                self._tenures[-1].operation.check()
            except LeaseLost:
                self._tenures[-1].lost = True
        if not self._tenures or self._tenures[-1].lost:
            self._open()
        return self._tenures[-1]

    def _open(self) -> None:
        ending = contextlib.ExitStack()
        operation = ending.enter_context(self._desk.writer("serve", self._subject, quiet()))
        self._tenures.append(_Tenure(operation, ending, self._clock()))

    def _age(self, tenure: _Tenure) -> float:
        return self._clock() - tenure.born_s

    def _served(self, tenure: _Tenure) -> bool:
        """Whether its protection is taken over: its successor alone covers a whole grace.

        A call that still runs keeps it for one grace more, then is stopped: a client that hangs must not
        hold up eviction (safety.md section 3, maximum life).
        """
        after = self._tenures[self._tenures.index(tenure) + 1]
        if not tenure.lost and self._age(after) < self._grace_s:
            return False
        if self._age(after) >= 2 * self._grace_s:
            for stop in tenure.users.values():
                stop()
            return True
        return not tenure.users

    def _end(self, tenure: _Tenure) -> None:
        try:
            tenure.ending.close()
        except CaskeeperError as trouble:
            # Its record expires and its whole reservation is converted: never understated (I5).
            log.warning("rolling operation not settled", extra={"error": str(trouble)})
