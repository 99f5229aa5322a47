"""The server's operation on the volume, made anew before it gets old (safety.md section 3, Server).

Clients from outside hold no lease. What the server told them is here, or took from them, must stay for
``leases: upload-grace`` (interface section 5), and a cleanup spares whatever is younger than the oldest
operation's folder. So calls run under a *current* operation, which is opened by the first call that needs
one, current for a quarter of a grace, and kept until a whole grace after the last call that used it.

An answer is thus protected for at least one grace; eviction is held up for little more than one, and not
at all by a server that nobody asks. Calls that go on for longer are stopped, and hold it up for three and a
quarter at most (docs/decisions/0004). Beside each operation stands a file that says so when the server has
ended or was killed, and the journal of what was published under it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from caskeeper.errors import Cancelled, CaskeeperError, LeaseLost
from worker.protocols import quiet
from worker.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from worker.server.needs import Desk, Operation
    from worker.store.promises import Promises

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: How often reservations become used, and ages are looked at, at the latest.
TURN_S = 5.0
_LOOK_S = 0.02
#: So much of a grace one operation is current.
CURRENT = 0.25
#: So many graces after its beginning its calls are stopped, and no more begin.
CALLS = 2 + CURRENT
#: How long calls that are stopped may take to leave before their operation ends.
LEAVE_S = 2.0
#: How long an upload waits for room: less than a client waits for its server, so that it hears «full».
ROOM_WAIT_S = 10.0


class Follower(Protocol):
    """Whoever keeps something in the folders of operations beyond a call."""

    def turn(self) -> None:
        """Called now and then."""

    def ended(self, operation: Operation) -> None:
        """Called before an operation ends: its folder goes."""


@dataclass(eq=False)
class _Tenure:
    """One operation and the calls that run under it."""

    operation: Operation
    promise: str
    journal: Journal
    ending: contextlib.ExitStack
    born_s: float
    used_s: float
    #: fenced: it protects nothing any more
    lost: bool = False
    #: when its calls were told to stop; what was answered before is protected still
    stopped_s: float | None = None
    #: how to stop each call that is using it
    users: dict[object, Callable[[], object]] = field(default_factory=dict)


class Rolling:
    """Lends the current operation to calls. Safe to use from several threads."""

    def __init__(
        self,
        desk: Desk,
        promises: Promises,
        *,
        subject: str,
        grace_s: float,
        followers: Sequence[Follower] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._followers = followers
        self._promises = promises
        self._subject = subject
        self._grace_s = grace_s
        self._clock = clock
        self._guard = threading.Lock()
        self._tenures: list[_Tenure] = []
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """The thread that follows the clock. An operation is opened by the first call that needs one."""
        self._thread = threading.Thread(target=self._follow, name="rolling", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def lent(self, stop: Callable[[], object], *, under: Operation | None = None) -> Iterator[Operation]:
        """The current operation for one call; ``stop`` ends that call when it outlives the operation.

        ``under``: this one instead, if it goes on; LeaseLost if not.
        """
        user = object()
        with self._guard:
            tenure = self._current() if under is None else self._tenure_of(under)
            tenure.users[user] = stop
        try:
            yield tenure.operation
        except LeaseLost:
            tenure.lost = True  # fenced or dying: the next call gets a new one
            raise
        finally:
            with self._guard:
                if tenure.stopped_s is None:  # else the call was answered nothing that is to be protected
                    tenure.used_s = self._clock()
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
        """One look at the clock: end the operations that have served, settle what the others stored."""
        with self._guard:
            if self._closing.is_set():
                return  # all end at the same time then, not some before the others
            ended = [tenure for tenure in self._tenures if self._served(tenure)]
            self._tenures = [tenure for tenure in self._tenures if tenure not in ended]
            kept = list(self._tenures)
        self._end_all(ended)
        for tenure in kept:
            if self._closing.is_set():
                return  # each may wait for a silent Redis, and the end settles them all
            self._settle_part(tenure)
        for follower in self._followers:
            follower.turn()

    def _settle_part(self, tenure: _Tenure) -> None:
        if tenure.lost:
            return
        batches = tenure.operation.staging.batches
        try:
            if batches is not None and not tenure.users:
                batches.rest()  # the next call takes it again
            tenure.operation.settle_part()
        except LeaseLost:
            tenure.lost = True  # fenced: the others go on
        except CaskeeperError as trouble:
            log.warning("rolling operation not settled in part", extra={"error": str(trouble)})

    def close(self) -> None:
        """End all operations; calls that still run or come end with Cancelled. Files keep what was told.

        Where Redis is silent that takes little longer than a call or two, however many operations there are.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._await_leaving(LEAVE_S)
        with self._guard:
            ended, self._tenures = self._tenures, []
        self._end_all(ended)

    def _await_leaving(self, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while time.monotonic() < end_s:
            with self._guard:
                if not any(tenure.users for tenure in self._tenures):
                    return
            time.sleep(_LOOK_S)

    def _follow(self) -> None:
        while not self._closing.wait(min(TURN_S, self._grace_s / 4)):
            try:
                self.turn()
            except CaskeeperError as trouble:
                log.warning("rolling operation not settled in part", extra={"error": str(trouble)})
            except Exception:
                # A bug must not end the thread: an operation that is never ended stops all eviction.
                log.exception("bug in the rolling operation")

    def _current(self) -> _Tenure:
        """The youngest tenure, or a new one where it is lost or no longer current. Guard held."""
        self._check()
        if self._tenures:
            youngest = self._tenures[-1]
            try:
                youngest.operation.check()
            except LeaseLost:
                youngest.lost = True
            if not youngest.lost and self._clock() - youngest.born_s < CURRENT * self._grace_s:
                return youngest
        ending = contextlib.ExitStack()
        context = quiet()._replace(check=self._check)
        writer = self._desk.writer("serve", self._subject, context, room_wait_s=ROOM_WAIT_S, of_many=True)
        operation = ending.enter_context(writer)
        try:
            promise = self._promises.make()  # before anything is done under it: nothing of it is older
        except BaseException:
            ending.close()
            raise
        journal = Journal(operation.staging)
        operation.staging.announce = journal.note
        now_s = self._clock()
        self._tenures.append(_Tenure(operation, promise, journal, ending, now_s, now_s))
        return self._tenures[-1]

    def _check(self) -> None:
        """A call that waits for room must not hold up the end."""
        if self._closing.is_set():
            raise Cancelled("the server stops", self._subject)

    def _tenure_of(self, operation: Operation) -> _Tenure:
        for tenure in self._tenures:
            if tenure.operation is operation and not tenure.lost and not self._is_old(tenure):
                operation.check()
                return tenure
        raise LeaseLost("the operation it began under is over", self._subject)

    def _is_old(self, tenure: _Tenure) -> bool:
        """Whether its calls are to end. One that could still begin would be stopped at the next turn."""
        return self._clock() - tenure.born_s >= CALLS * self._grace_s

    def _served(self, tenure: _Tenure) -> bool:
        """Whether nobody uses it and a whole grace has passed since somebody did.

        A call that runs for two graces is stopped: a client that hangs must not hold up eviction
        (safety.md section 3, maximum life). It has a moment to leave in order, and is not waited for any
        longer; but what others were told under the same operation stays protected for its grace. A lost
        operation protects nothing: it only waits for its calls.
        """
        now_s = self._clock()
        if tenure.users and tenure.stopped_s is None and self._is_old(tenure):
            tenure.stopped_s = now_s
            for stop in tenure.users.values():
                stop()
        had_time = tenure.stopped_s is not None and now_s - tenure.stopped_s >= LEAVE_S
        if tenure.users and not had_time:
            return False
        return tenure.lost or now_s - tenure.used_s >= self._grace_s

    def _end_all(self, tenures: list[_Tenure]) -> None:
        """Beside one another: each may wait for a silent Redis, and a server that stops has little time."""
        for tenure in tenures:
            self._tell_followers(tenure)
        here, threads = tenures[:1], []
        for tenure in tenures[1:]:
            try:
                thread = threading.Thread(target=self._end, args=(tenure,), name="rolling end", daemon=True)
                thread.start()
            except (RuntimeError, MemoryError):
                here.append(tenure)  # there is no room for a thread: it ends later, but it does
            else:
                threads.append(thread)
        for tenure in here:
            self._end(tenure)
        for thread in threads:
            thread.join()

    def _tell_followers(self, tenure: _Tenure) -> None:
        try:
            for follower in self._followers:
                follower.ended(tenure.operation)
        except CaskeeperError as trouble:
            log.warning("what was kept was not removed", extra={"error": str(trouble)})  # its folder goes
        except Exception:
            log.exception("bug in what follows the rolling operation")  # which must end in any case

    def _end(self, tenure: _Tenure) -> None:
        try:
            self._end_one(tenure)
        except Exception:
            # One that is never ended is renewed, and stops all eviction: the others end in any case.
            log.exception("bug in the end of a rolling operation")

    def _end_one(self, tenure: _Tenure) -> None:
        with self._guard:
            if tenure.users:
                tenure.operation.in_use()
        try:
            tenure.ending.close()
        except LeaseLost as lost:
            log.info("rolling operation was fenced", extra={"error": str(lost)})
        except CaskeeperError as trouble:
            # Its record expires and its whole reservation is converted: never understated (I5).
            log.warning("rolling operation not settled", extra={"error": str(trouble)})
        try:
            tenure.journal.close()
        except CaskeeperError as trouble:
            log.warning("journal not closed", extra={"error": str(trouble)})
        if self._clock() - tenure.used_s >= self._grace_s:
            try:
                self._promises.end(tenure.promise)
            except CaskeeperError as trouble:
                log.warning("promise not ended", extra={"error": str(trouble)})  # the next cleanup does it
