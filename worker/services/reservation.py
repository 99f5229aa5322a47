"""What one operation may still write: reserved in Redis and on the volume, spent, refunded, settled (I5).

Reserved before the first byte is written, settled as used when it is published; what Redis has no room for is
waited for. The operation itself, its lease and its claims, is ``worker.services.operations``.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.coordination import StateLost
from caskeeper.errors import CaskeeperError, LeaseLost, NoSpace

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.services.desk import OperationDesk
    from worker.services.operations import Operation

#: What is reserved ahead when work of unknown size spends: fewer round trips, little waste.
SLICE_BYTES = 16 * 1024 * 1024
#: How long whoever is refused more waits for what its companion is at, to have back what that has ahead.
COMPANION_S = 1.0


class _Part(NamedTuple):
    """One settlement in part, in charged bytes."""

    epoch: str
    number: int
    added: int
    unreserve: int


class Reservation:
    """One operation's, and its books. Safe to use from several threads."""

    def __init__(
        self, operation: Operation, desk: OperationDesk, *, room_wait_s: float, of_many: bool
    ) -> None:
        self._operation = operation
        self._desk = desk
        self._room_wait_s = room_wait_s
        self._of_many = of_many
        self._money = threading.Lock()
        #: One question about money to Redis at a time: what is granted is then known when it is written down.
        self.books = threading.Lock()
        #: What Redis and the volume have as reserved.
        self.granted = 0
        self._allowance = 0
        self._settled = 0
        self._parts = 0
        self._doubt: _Part | None = None

    def reserve(self, size_bytes: int, *, look_again: Callable[[], int] | None = None) -> None:
        """Make sure that ``size_bytes`` charged bytes may be spent (I5: before the first of them).

        May run or await a cleanup; ``look_again`` then says how many are still wanted, never more than
        before. Raises TooLarge, CacheTooFull, NoSpace, LeaseLost, Cancelled.
        """
        with self._money:
            there = self._allowance
        if size_bytes <= there:
            return
        fewer = None if look_again is None else lambda: look_again() - there
        self.refund(self._obtain(size_bytes - there, alone_bytes=size_bytes, besides=there, fewer=fewer))

    def spend(self, size_bytes: int) -> None:
        if self.spend_at_hand(size_bytes):
            return
        with self._money:
            taken = min(size_bytes, self._allowance)
            self._allowance -= taken
        if taken == size_bytes:
            return
        # Not under the lock: one large blob that waits for room must not stop the small ones beside it.
        try:
            obtained = self._obtain(size_bytes - taken, alone_bytes=size_bytes, ahead=SLICE_BYTES)
        except BaseException:
            self.refund(taken)
            raise
        self.refund(taken + obtained - size_bytes)

    def spend_at_hand(self, size_bytes: int) -> bool:
        """Of what is reserved and not spent; False: that is less."""
        with self._money:
            if size_bytes > self._allowance:
                return False
            self._allowance -= size_bytes
            return True

    def refund(self, size_bytes: int) -> None:
        with self._money:
            self._allowance += size_bytes

    def _obtain(
        self,
        size_bytes: int,
        *,
        alone_bytes: int,
        ahead: int = 0,
        besides: int = 0,
        fewer: Callable[[], int] | None = None,
    ) -> int:
        """So many more bytes reserved for whoever asked, some ahead, or what ``fewer`` left; how many.

        ``alone_bytes``: what he wants altogether, also of what was at hand.
        Where Redis has no more: also of what was refunded meanwhile, ``besides`` what stays at hand.
        """
        back = obtained = 0

        def ask() -> bool:
            nonlocal back, obtained
            wanted = size_bytes if fewer is None else max(0, fewer())
            back += self._take_back(wanted - back, besides)
            obtained = max(0, wanted - back)
            return self._ask(obtained) if obtained else True

        for wanted in dict.fromkeys((max(size_bytes, ahead), size_bytes)):
            # What is ahead may become as many files as it has blocks.
            if self._ask(wanted, files=1 + (wanted - size_bytes) // self._desk.volume.block_bytes):
                return wanted
        back = self._take_back(size_bytes, besides, wait_s=COMPANION_S)
        if back == size_bytes:
            return back
        try:
            # What is published already stands on the disk *and* in the reservation: where the disk is the
            # limit it would count twice.
            with suppress(StateLost):
                self._settle_written(spare_bytes=0)
            self._operation.context.progress(Progress(phase="waiting for room"))
            self._desk.room.make(
                size_bytes - back,
                reserved_bytes=self.granted,
                written_bytes=self._settled,
                alone_bytes=alone_bytes if self._of_many else None,
                wait_s=self._room_wait_s,
                ask=ask,
                check=self._operation.check,
            )
        except BaseException:
            self.refund(back)
            raise
        return back + obtained

    def _take_back(self, most_bytes: int, besides: int, *, wait_s: float = 0.0) -> int:
        """Of what is at hand, also what was handed ahead to the companion and it has no use for; how many."""
        staging = self._operation.staging
        if staging.batches is not None:
            staging.batches.rest(wait_s)
        if (aside := staging.aside) is not None:
            aside.take_back(wait_s)
        with self._money:
            back = max(0, min(most_bytes, self._allowance - besides))
            self._allowance -= back
        return back

    def _ask(self, size_bytes: int, *, files: int = 1) -> bool:
        self._operation.check()
        try:
            return self._ask_once(size_bytes, files)
        except StateLost:
            self._desk.when_ready(self._operation.register)
            return self._ask_once(size_bytes, files)

    def _ask_once(self, size_bytes: int, files: int) -> bool:
        limit_bytes = self._desk.space.limit_for(size_bytes, files=files)
        if limit_bytes is None:
            return False
        with self.books:
            # On the volume before it is asked for: whoever brings a lost Redis back counts it (I5).
            try:
                self._operation.staging.state_reserved(self.granted + size_bytes)
            except NoSpace:
                return False
            try:
                fits = self._desk.coordination.operations.reserve(
                    self._operation.id, self._operation.epoch, size_bytes, limit_bytes=limit_bytes
                )
                if fits:
                    with self._money:
                        self.granted += size_bytes
            finally:
                self._lower_statement()
        return fits

    def _lower_statement(self) -> None:
        """What stands on the volume is what is granted; where it cannot be written it stays too high."""
        with suppress(CaskeeperError):
            self._operation.staging.state_reserved(self.granted)

    def settle(self, *, fenced: bool) -> bool:
        """The end: what was published becomes used. False: the operation is not known there any more."""
        with self.books, self._money:
            with suppress(LeaseLost, StateLost):
                self._send_doubt()  # else it would be in what follows, and counted twice
            added = self._operation.staging.added_bytes - self._settled
            settle = self._desk.coordination.operations.settle
            return settle(self._operation.id, self._operation.epoch, added, fenced=fenced)

    def settle_part(self) -> None:
        """What was published since the last time becomes used; the operation goes on (the server's).

        What it was refunded, of uploads that never came, is left to others again. Raises StateLost and
        LeaseLost; nothing was counted then.
        """
        self._settle_written(spare_bytes=max(0, self._allowance - SLICE_BYTES))

    def _settle_written(self, *, spare_bytes: int) -> None:
        with self.books:
            self._settle_added(spare_bytes)
            self._lower_statement()

    def _settle_added(self, spare_bytes: int) -> None:
        with self._money:
            self._send_doubt()
            added = self._operation.staging.added_bytes - self._settled
            spare = min(spare_bytes, self._allowance)
            if added or spare:
                # Whatever comes of it: what was spare is never spent (I5).
                self.granted -= spare
                self._allowance -= spare
                self._parts += 1
                self._send_part(_Part(self._operation.epoch, self._parts, added, added + spare))

    def _send_doubt(self) -> None:
        if self._doubt and self._doubt.epoch == self._operation.epoch:
            self._send_part(self._doubt)  # once more under its number: it counts once
        self._doubt = None

    def _send_part(self, part: _Part) -> None:
        before, self._doubt = self._doubt, part  # it may be done, whatever ends the call, but for a refusal
        try:
            self._desk.coordination.operations.settle_part(
                self._operation.id, part.epoch, part.added, unreserve_bytes=part.unreserve, number=part.number
            )
        except (LeaseLost, StateLost):
            self._doubt = before
            raise
        self._doubt = None
        self._settled += part.added
        self.granted -= part.added
