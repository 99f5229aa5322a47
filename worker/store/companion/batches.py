"""Batches of small blobs, and looks at many of them, divided between an operation and its companion.

What goes aside is written and looked at there for the same operation, so it is the operation's own to rely
on. The bytes of a batch travel through memory that both processes have.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from worker.store.companion.messages import CompanionLost
from worker.store.parallel import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import Piece
    from worker.store.blobs import StoreBlobs
    from worker.store.companion.owner import Companion
    from worker.store.companion.session import Session
    from worker.store.parallel import Turn

#: How often whoever waits for an answer looks whether to stop, in seconds.
LOOK_S = 0.1
#: How long the end of an operation waits for whoever has the slot: without a session it begins or ends one,
#: with one it is at work, which is given up or fails before that.
CLOSE_S, WORK_S = 5.0, 60.0


class Batches(Slot):
    """One operation's. Whoever calls has claimed the slot; ``close`` and ``rest`` claim it themselves."""

    def __init__(self, companion: Companion, blobs: StoreBlobs) -> None:
        """Starts nothing."""
        super().__init__()
        self._companion = companion
        self._blobs = blobs
        self._turn: Turn = blobs.staging.volume.turn
        self._session: Session | None = None
        self._over = False

    def look(self, digests: Sequence[Digest]) -> bool:
        """Have them looked at; ``states`` tells what was found. False: it is to be done here."""
        return self._send(("look", *_packed(digests)))

    def states(self) -> bytes | None:
        """What was asked by ``look``; None: it is to be done here."""
        states: bytes | None = self._answer()
        return states

    @property
    def is_near(self) -> bool:
        """Whether a batch may go aside: a few of them are not worth a start."""
        return self._session is not None or (self._companion.is_running and not self._over)

    def write(
        self, blobs: Sequence[tuple[Digest, Piece]], *, missed: bool, announce: Callable[[], bool]
    ) -> bool:
        """As ``StoreBlobs.write_batch``. ``missed``: all were looked for in vain. False: to be done here.

        ``announce`` is called before they are given away; False: they cannot be.
        """
        if not self.is_near or not self.begin():
            return False
        digests = [digest for digest, _data in blobs]
        memory = self._companion.memory
        if memory is None or sum([size for _hash, size in digests]) > len(memory) or not announce():
            return False
        at = 0
        for _digest, data in blobs:
            memory[at : at + len(data)] = data
            at += len(data)
        return self._send(("write", *_packed(digests), missed)) and self._answer() is not None

    def begin(self) -> bool:
        """Whether there is a companion for this operation, which is taken if it is to be had."""
        if self._session is None and not self._over:
            session = self._companion.session("blobs", self._blobs)
            if session.begin():
                self._session = session
                self._companion.idle = self.rest
        return self._session is not None

    def drop(self) -> None:
        """What was asked is not waited for."""
        self._end()

    def rest(self, wait_s: float = 0.0) -> bool:
        """Let it go, unless it is at work: another operation wants it, or this one has not for a while.

        ``wait_s``: so long for what it is at.
        """
        end_s = time.monotonic() + wait_s
        while not self._turn.claim(self):
            left_s = end_s - time.monotonic()
            if left_s <= 0 or self.is_mine:
                return False
            self._turn.wait(min(LOOK_S, left_s))
        try:
            self._end()
        finally:
            self._turn.free(self)
        return True

    def close(self) -> bool:
        """The operation ends. False: somebody is still at work, and does not get on."""
        self._over = True
        if self.is_mine:  # an exception from outside came between a claim and what frees it
            self._turn.free(self)
        began_s = time.monotonic()
        while not self.rest(LOOK_S):
            most_s = CLOSE_S if self._session is None else WORK_S
            if time.monotonic() - began_s > most_s:
                return False
        return True

    def _send(self, unit: tuple[Any, ...]) -> bool:
        if not self.begin() or self._session is None:
            return False
        try:
            self._session.send([unit])
        except CompanionLost:
            self._end()
            return False
        return True

    def _answer(self) -> Any:
        if self._session is None:
            return None
        try:
            while (results := self._session.receive(LOOK_S)) is None:
                self._blobs.staging.check()
        except CompanionLost:
            self._end()
            return None
        except BaseException:
            self._end()
            raise
        return results[0]

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._companion.idle = None
            session.__exit__(None, None, None)


def _packed(digests: Sequence[Digest]) -> tuple[str, list[int]]:
    """Few objects, which pickle fast."""
    return "".join([digest[0] for digest in digests]), [digest[1] for digest in digests]
