"""Where a process gets its operations from (safety.md section 3), and the thread that keeps their leases."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caskeeper.coordination import StateLost
from caskeeper.coordination.events import REFUSED
from caskeeper.errors import CacheTooFull, CaskeeperError, NoSpace, TooLarge
from worker.services.operations import Operation
from worker.services.room import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.coordination import Coordination
    from worker.protocols import Context
    from worker.services.room import Room
    from worker.services.space import Space
    from worker.store.companion.owner import Companion
    from worker.store.objects import Objects
    from worker.store.volume import Volume


class OperationDesk:
    """Where a process gets its operations from, and the thread that renews them.

    Made after the fork: the thread does not survive one.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        objects: Objects,
        coordination: Coordination,
        space: Space,
        make_ready: Callable[[], None],
        room: Room,
        relieve: Callable[[], bool],
        companion: Companion | None = None,
    ) -> None:
        """``relieve`` clears what a dead cleanup had condemned; False: it lives."""
        self.volume = volume
        self.objects = objects
        self.coordination = coordination
        self.leases = coordination.leases
        self.space = space
        self.host = f"{socket.gethostname()}:{os.getpid()}"
        self._make_ready = make_ready
        self.room = room
        self.relieve = relieve
        self.companion = companion
        self._running: set[Operation] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def writer(
        self,
        verb: str,
        subject: str,
        context: Context,
        *,
        room_wait_s: float = WAIT_S,
        of_many: bool = False,
    ) -> Iterator[Operation]:
        """An operation that may add to the volume; what does not fit waits so long for room.

        ``of_many``: what it writes is of many callers, and need not fit into the quota together.
        LeaseLost also at its end, where a cleanup took it for dead before: what it published may be evicted
        by then, and nobody is told that it is done (safety.md section 4, I8).
        """
        operation = Operation(self, verb, subject, context, room_wait_s=room_wait_s, of_many=of_many)
        try:
            operation.begin()
            self._watch(operation)
            yield operation
        except (CacheTooFull, NoSpace, TooLarge) as full:
            self._note_refused(operation, full)
            raise
        except CaskeeperError:
            raise
        except BaseException:
            # It may have come from outside, between a rename and its count.
            operation.in_use()
            raise
        finally:
            with self._guard:
                self._running.discard(operation)
            operation.end()
        operation.confirm()

    def _note_refused(self, operation: Operation, full: CaskeeperError) -> None:
        """For whoever asks later why an artifact never came."""
        if operation.subject.count("/") == 2:  # else it is no ref
            self.coordination.events.note(REFUSED, [operation.subject], why=str(full), by=operation.id)

    #: A reader stages too (its extract, an executable), so it is the same thing under another name.
    reader = writer

    def when_ready(self, register: Callable[[], None]) -> None:
        """Run ``register``; when Redis has lost its state, see to it that somebody brings it back first."""
        deadline = time.monotonic() + max(30.0, self.leases.operation_s)
        while True:
            try:
                register()
                return
            except StateLost:
                if time.monotonic() > deadline:
                    raise
                self._make_ready()

    def _watch(self, operation: Operation) -> None:
        with self._guard:
            self._running.add(operation)
            if self._thread is None:
                thread = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                thread.start()  # may fail: then the next operation tries it again
                self._thread = thread

    def _renew_all(self) -> None:
        while not self._wake.wait(self.leases.operation_s / 3):
            with self._guard:
                running = list(self._running)
            for operation in running:
                operation.renew()

    def close(self) -> None:
        """Stop renewing. Operations still running lose their leases in time."""
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
