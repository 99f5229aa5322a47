"""Work on files, on a few threads: capture, checkout, and batches of small blobs (decision 0017).

Every system call lets go of the interpreter, so two threads that both go through small files wait for each
other after each call: together they take twice as long as one after the other. So one thread at a time goes
through small files. Beside it another one may hash and copy large ones, of which a call takes long. And where
all wait for a slow disk, nobody waits for the interpreter: then they go through small files together.
Many small files go to a second process as well, if there is one (``Aside``).
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

#: A third finds no core: hashing is what they do most.
THREADS = 2
#: How often the caller's thread looks, in seconds.
WATCH_S = 0.1
#: A call for a file of more bytes takes longer than it takes to wait for the interpreter.
SMALL_BYTES = 64 * 1024
#: Who has worked for less of its time has waited for the disk.
BUSY_SHARE = 0.5
#: So long one batch waits for another; it takes a tenth of it where the disk is fast.
PATIENCE_S = 0.25

#: Short units go aside once there was so much to do (processor time, in seconds), and so many are waiting.
WORTH_S = 0.01
WORTH_UNITS = 16
#: At most so many go aside at once, and so often before the first answer: then there is no pause.
ASIDE_UNITS = 64
ASIDE_AHEAD = 2

Unit = TypeVar("Unit")


class _Stopped(Exception):
    """Somebody else failed."""


class Slot:
    """The place of one batch in another process, beside the turn in this one."""

    def __init__(self) -> None:
        self.taken = False
        self._owner = 0

    def take(self) -> None:
        """By this thread."""
        self.taken, self._owner = True, threading.get_ident()

    @property
    def is_mine(self) -> bool:
        """This thread has it: to wait for it is in vain."""
        return self.taken and self._owner == threading.get_ident()


class Turn:
    """The turn of one batch of small files among all threads of a process. Nobody waits long for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False

    @contextmanager
    def taken(self, files: int, size_bytes: int, *, slot: Slot | None = None) -> Iterator[bool]:
        """For ``files`` of so many bytes together. Large ones need no turn.

        True: the turn is another one's, and ``slot`` is this one's: it goes to the other process.
        """
        if size_bytes > files * SMALL_BYTES:
            yield False
            return
        mine, slot = self._wait(slot)
        try:
            yield slot is not None
        finally:
            with self._changed:
                if mine:
                    self._taken = False
                if slot is not None:
                    slot.taken = False
                if mine or slot is not None:
                    self._changed.notify_all()

    def _wait(self, slot: Slot | None) -> tuple[bool, Slot | None]:
        """Whether the turn is ours, and the slot if that is; neither of them after a while."""

        def is_free() -> bool:
            return not self._taken or (slot is not None and not slot.taken)

        with self._changed:
            if not self._changed.wait_for(is_free, timeout=PATIENCE_S):
                return False, None
            if not self._taken:
                self._taken = True
                return True, None
            if slot is not None:
                slot.take()
            return False, slot

    def claim(self, slot: Slot) -> bool:
        """Take the slot if nobody has it; ``free`` it."""
        with self._changed:
            claimed = not slot.taken
            if claimed:
                slot.take()
        return claimed

    def free(self, slot: Slot) -> None:
        """Give it back."""
        with self._changed:
            slot.taken = False
            self._changed.notify_all()

    def wait(self, wait_s: float) -> None:
        """Until something was given back, or so long."""
        with self._changed:
            self._changed.wait(wait_s)


class Aside(Protocol[Unit]):
    """Somebody who does short units elsewhere, without this interpreter. Called by one thread at a time."""

    def begin(self) -> bool:
        """Called before the first units; False: nothing can be done there."""

    def send(self, units: Sequence[Unit]) -> None:
        """They are to be done after those that were sent before."""

    def receive(self, wait_s: float) -> list[Unit] | None:
        """What became of the units that were sent first: those not done, then what follows from the others.

        The last one is done first here. None: there is no answer within ``wait_s``.
        """


class Crew(Generic[Unit]):
    """``do`` is called for every unit and answers the units that follow from it.

    The newest unit goes first, so a tree is walked in depth and little is waiting at any time. The first
    failure stops all. The caller's thread does none of the work: it watches, so that progress, cancellation
    and signals have one place, and it leaves only when every thread has ended.
    """

    def __init__(
        self,
        do: Callable[[Unit], Iterable[Unit]],
        watch: Callable[[], None],
        *,
        is_long: Callable[[Unit], bool] = lambda _unit: False,
        aside: Aside[Unit] | None = None,
    ) -> None:
        """``watch`` is called by the caller's thread several times a second; what it raises stops all.

        ``is_long``: a unit that goes beside others; of the others one is done at a time, and more of them
        ``aside`` when there are many: the oldest, from which most follows.
        """
        self._do = do
        self._watch = watch
        self._is_long = is_long
        self._aside = aside
        self._short: list[Unit] = []
        self._long: list[Unit] = []
        self._busy = 0
        self._failure: BaseException | None = None
        self._tending = threading.Lock()
        self._sent: int | None = None  # and not answered; None: nobody was asked yet
        lock = threading.Lock()
        self._to_do, self._over = threading.Condition(lock), threading.Condition(lock)
        # What shows whether short units wait for the disk: their number, when one began, and what they took.
        self._at_short = 0
        self._began_s = 0.0
        self._took_s = 0.0
        self._worked_s = 0.0
        self._slow = False
        self._threads: Sequence[threading.Thread] = ()

    def run(self, units: Iterable[Unit]) -> None:
        """Do all of it. Raises the first failure, after every thread has ended."""
        self._add(units)
        threads = [threading.Thread(target=self._work, name=f"crew-{number}") for number in range(THREADS)]
        self._threads = threads
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            while not self._wait():
                self._watch()
            self._watch()
        except BaseException as failure:
            self._fail(failure)
            raise
        finally:
            for thread in started:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """For long units: returns as long as the work goes on."""
        if self._failure is not None:
            raise _Stopped

    def _wait(self) -> bool:
        """Whether the work has ended, after waiting a moment for that."""
        with self._over:
            if self._over.wait_for(self._ended, timeout=WATCH_S):
                return True
            if not self._slow and self._waits_for_the_disk():
                self._slow = True
                self._to_do.notify_all()
            return False

    def _waits_for_the_disk(self) -> bool:
        """Whether short units take longer than they work, and than they wait for a processor."""
        running_s = time.monotonic() - self._began_s if self._began_s else 0.0
        most_s = BUSY_SHARE * (self._took_s + running_s - WATCH_S)
        if self._worked_s >= most_s:
            return False
        return self._worked_s + sum(_queued_s(thread.native_id) for thread in self._threads) < most_s

    def _ended(self) -> bool:
        return self._failure is not None or not (self._short or self._long or self._busy)

    def _fail(self, failure: BaseException) -> None:
        with self._over:
            if self._failure is None:
                self._failure = failure
            self._tell_the_end()

    def _tell_the_end(self) -> None:
        self._over.notify_all()
        self._to_do.notify_all()

    def _add(self, units: Iterable[Unit]) -> None:
        for unit in units:
            (self._long if self._is_long(unit) else self._short).append(unit)

    def _is_something_to_do(self) -> bool:
        return bool(self._long) or self._is_short_to_do()

    def _is_short_to_do(self) -> bool:
        """Also to wait for what is done aside."""
        return bool(self._short or self._sent) and (self._slow or not self._at_short)

    def _work(self) -> None:
        try:
            while True:
                with self._to_do:
                    self._to_do.wait_for(lambda: self._is_something_to_do() or self._ended())
                    if self._ended():
                        return
                    short = self._is_short_to_do()
                    unit = self._short.pop() if short and self._short else None if short else self._long.pop()
                    self._busy += 1
                    self._at_short += short
                    if self._is_something_to_do():
                        self._to_do.notify()
                if short:
                    self._tend(WATCH_S if unit is None else 0.0)
                following = () if unit is None else self._do_short(unit) if short else list(self._do(unit))
                with self._to_do:
                    self._add(following)
                    self._busy -= 1
                    self._at_short -= short
                    if self._ended():
                        self._tell_the_end()
        except _Stopped:
            pass
        except BaseException as failure:  # noqa: BLE001 -- raised again by the caller's thread
            self._fail(failure)

    def _tend(self, wait_s: float) -> None:
        """Take what was done aside, and send more: between two short units, by who does them."""
        # With nothing else to do it waits for its turn, too.
        if self._aside is not None and self._tending.acquire(timeout=wait_s):
            try:
                if self._sent is None and not self._asks(self._aside):
                    return
                while self._sent and (following := self._aside.receive(wait_s)) is not None:
                    self._took(following)
                    wait_s = 0.0
                while units := self._oldest():
                    self._aside.send(units)
            finally:
                self._tending.release()

    def _asks(self, aside: Aside[Unit]) -> bool:
        """Whether the work has become worth it, and somebody is there."""
        if len(self._short) < WORTH_UNITS or self._worked_s < WORTH_S:
            return False
        if aside.begin():
            self._sent = 0
            return True
        self._aside = None
        return False

    def _took(self, following: list[Unit]) -> None:
        with self._to_do:
            self._add(following)
            self._sent = (self._sent or 0) - 1
            self._busy -= 1
            if self._slow:
                self._to_do.notify_all()

    def _oldest(self) -> list[Unit]:
        """Those to be sent now, which are on their way then."""
        with self._to_do:
            if self._sent is None or self._sent >= ASIDE_AHEAD or len(self._short) < WORTH_UNITS:
                return []
            most = min(ASIDE_UNITS, len(self._short) // 2)
            units = self._short[:most]
            if units:
                del self._short[:most]
                self._sent += 1
                self._busy += 1
            return units

    def _do_short(self, unit: Unit) -> list[Unit]:
        """As ``do``, and what it took."""
        worked_s = time.thread_time()
        began_s = self._began_s = time.monotonic()
        following = list(self._do(unit))
        self._began_s = 0.0
        self._took_s += time.monotonic() - began_s
        self._worked_s += time.thread_time() - worked_s
        return following


def _queued_s(thread: int | None) -> float:
    """For how long a thread of this process has waited for a processor; 0 where the kernel does not tell."""
    try:
        with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
