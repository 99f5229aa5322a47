"""Operations: the right to change the volume, and the reservation that pays for it (safety.md section 3).

An operation is a folder on the volume (the truth) and a record in Redis (start, expiry, reservation,
claims) that this process renews. Whoever loses one finds out at the next ``check``, at the next
reservation, or because its folder is gone: never by damaging what others rely on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, CaskeeperError, CoordinatorUnavailable, LeaseLost, NoSpace
from worker.store.blobs import StoreBlobs
from worker.store.companion.batches import Batches
from worker.store.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk

log = logging.getLogger(__name__)

#: What is reserved ahead when work of unknown size spends: fewer round trips, little waste.
SLICE_BYTES = 16 * 1024 * 1024
#: How long whoever is refused more waits for what its companion is at, to have back what that has ahead.
COMPANION_S = 1.0
#: How long a writer waits for a condemned name to be free again before it gives up.
HOLD_WAIT_S = 30.0


class _Part(NamedTuple):
    """One settlement in part, in charged bytes."""

    epoch: str
    number: int
    added: int
    unreserve: int


class Operation:
    """One running verb. Made by the desk; ends with its ``with`` block."""

    def __init__(
        self, desk: OperationDesk, verb: str, subject: str, context: Context, *, room_wait_s: float
    ) -> None:
        self._desk = desk
        self._room_wait_s = room_wait_s
        self.verb = verb
        self.subject = subject
        self.context = context
        self.id = f"{verb}-{uuid.uuid4().hex}"
        self.epoch = ""
        self.staging = Staging(
            desk.volume,
            self.id,
            spend=self._spend,
            refund=self._refund,
            check=self.check,
            spend_at_hand=self._spend_at_hand,
        )
        self.blobs = StoreBlobs(self.staging, desk.objects)
        if desk.companion is not None:
            self.staging.batches = Batches(desk.companion, self.blobs)
        self._money = threading.Lock()
        # One question about money to Redis at a time: what is granted is then known when it is written down.
        self._books = threading.Lock()
        self._granted = 0
        self._allowance = 0
        self._settled = 0
        self._parts = 0
        self._doubt: _Part | None = None
        self._claimed: set[str] = set()
        self._held: set[str] = set()
        self._lost = ""
        self._in_use = False
        self._fenced = False
        self._born = time.monotonic()
        self._renewed = self._born

    # -- life ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Folder first, then the record: a folder without a record is fenced, never the other way round."""
        self.staging.begin()
        self._desk.when_ready(self._register)

    def _register(self) -> None:
        with self._books:
            self.epoch = self._desk.coordination.operations.register(
                self.id,
                verb=self.verb,
                subject=self.subject,
                host=self._desk.host,
                reserved_bytes=self._granted,
                refs=sorted(self._held),
                roots=sorted(self._claimed),
            )
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Keep the lease; called by the desk's thread at a third of its life."""
        leases = self._desk.leases
        if time.monotonic() - self._born > leases.operation_life_s:
            self._lose(f"it ran longer than `leases: operation-life` ({leases.operation_life_s:g} s)")
            return
        try:
            self._desk.coordination.operations.renew(self.id, self.epoch)
            self._renewed = time.monotonic()
        except StateLost:
            self._register_again()
        except LeaseLost as lost:
            self._lose(lost.what)
        except CoordinatorUnavailable:
            if time.monotonic() - self._renewed > leases.operation_s:
                self._lose("Redis did not answer for a whole lease")

    def _register_again(self) -> None:
        """Redis forgot everything (safety.md section 7): come back with what is reserved and claimed."""
        try:
            self._register()
        except LeaseLost as lost:
            self._lose(lost.what)
        except (Busy, CoordinatorUnavailable):
            pass  # not ready yet: the next tick tries again; the fence decides if it takes too long

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why

    def check(self) -> None:
        """Raises LeaseLost or Cancelled; called between pieces of work."""
        if self._lost:
            raise LeaseLost(self._lost, f"{self.verb} {self.subject}")
        self.context.check()

    def in_use(self) -> None:
        """Somebody still works under it while it ends: what he publishes may be told by nobody.

        So what is reserved then stays reserved until a cleanup converts it, which brings a recount (I5).
        """
        self._in_use = True

    def end(self) -> None:
        """The folder goes, then what was published is settled as used, whatever became of the rest.

        Raises VolumeFailed and the like when something staged cannot be removed.
        """
        try:
            if self.staging.batches is not None and not self.staging.batches.close():
                self.in_use()
        finally:
            self._end()

    def confirm(self) -> None:
        """After the end: raises LeaseLost where somebody had taken its folder away before."""
        if self._fenced:
            raise LeaseLost("it was taken for dead before it had ended", f"{self.verb} {self.subject}")

    def _end(self) -> None:
        # What stays in the folder stays paid for: nothing is settled then, the record expires, and its whole
        # reservation is converted when the folder is fenced (I5).
        whole = self.staging.end()
        self._fenced = not whole and not os.path.lexists(self.staging.folder)
        try:
            self._settle(fenced=not whole or self._in_use)
        except (Busy, CoordinatorUnavailable, LeaseLost):
            # Redis cannot be told, or a cleanup has it by now. Lost state means a recount before anything
            # is evicted; a record that survived expires, and its whole reservation is converted: never
            # understated (I5).
            log.warning("operation not settled", extra={"operation": self.id})

    def _settle(self, *, fenced: bool) -> None:
        """What was published under a lost epoch is told to the next; a reaped record was converted.

        What a fenced one had staged may still lie in a trash folder, also when the cleanup that took it had
        not known of its record.
        """
        fenced = fenced and self._granted > 0
        if self._settle_whole(fenced=fenced):
            return
        if self._granted and self._desk.coordination.state().epoch != self.epoch:
            self._claimed.clear()
            self._held.clear()
            self._desk.when_ready(self._register)
            self._settle_whole(fenced=fenced)

    def _settle_whole(self, *, fenced: bool) -> bool:
        """False: it is not known there any more."""
        with self._books, self._money:
            with suppress(LeaseLost, StateLost):
                self._send_doubt()  # else it would be in what follows, and counted twice
            added = self.staging.added_bytes - self._settled
            settle = self._desk.coordination.operations.settle
            return settle(self.id, self.epoch, added, fenced=fenced)

    def settle_part(self) -> None:
        """What was published since the last time becomes used; the operation goes on (the server's).

        What it was refunded, of uploads that never came, is left to others again. Raises StateLost and
        LeaseLost; nothing was counted then.
        """
        self._settle_written(spare_bytes=max(0, self._allowance - SLICE_BYTES))

    def _settle_written(self, *, spare_bytes: int) -> None:
        with self._books:
            self._settle_added(spare_bytes)
            self._lower_statement()

    def _settle_added(self, spare_bytes: int) -> None:
        with self._money:
            self._send_doubt()
            added = self.staging.added_bytes - self._settled
            spare = min(spare_bytes, self._allowance)
            if added or spare:
                # Whatever comes of it: what was spare is never spent (I5).
                self._granted -= spare
                self._allowance -= spare
                self._parts += 1
                self._send_part(_Part(self.epoch, self._parts, added, added + spare))

    def _send_doubt(self) -> None:
        if self._doubt and self._doubt.epoch == self.epoch:
            self._send_part(self._doubt)  # once more under its number: it counts once
        self._doubt = None

    def _send_part(self, part: _Part) -> None:
        try:
            self._desk.coordination.operations.settle_part(
                self.id, part.epoch, part.added, unreserve_bytes=part.unreserve, number=part.number
            )
        except CoordinatorUnavailable:
            self._doubt = part  # it may have been done
            raise
        self._settled += part.added
        self._granted -= part.added

    # -- money --------------------------------------------------------------------------------------

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
        self._refund(self._obtain(size_bytes - there, besides=there, fewer=fewer))

    def _spend(self, size_bytes: int) -> None:
        if self._spend_at_hand(size_bytes):
            return
        with self._money:
            taken = min(size_bytes, self._allowance)
            self._allowance -= taken
        if taken == size_bytes:
            return
        # Not under the lock: one large blob that waits for room must not stop the small ones beside it.
        try:
            obtained = self._obtain(size_bytes - taken, ahead=SLICE_BYTES)
        except BaseException:
            self._refund(taken)
            raise
        self._refund(taken + obtained - size_bytes)

    def _spend_at_hand(self, size_bytes: int) -> bool:
        """Of what is reserved and not spent; False: that is less."""
        with self._money:
            if size_bytes > self._allowance:
                return False
            self._allowance -= size_bytes
            return True

    def _refund(self, size_bytes: int) -> None:
        with self._money:
            self._allowance += size_bytes

    def _obtain(
        self, size_bytes: int, *, ahead: int = 0, besides: int = 0, fewer: Callable[[], int] | None = None
    ) -> int:
        """So many more bytes reserved for whoever asked, some ahead, or what ``fewer`` left; how many.

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
            self.context.progress(Progress(phase="waiting for room"))
            self._desk.room.make(
                size_bytes - back,
                reserved_bytes=self._granted,
                written_bytes=self._settled,
                wait_s=self._room_wait_s,
                ask=ask,
                check=self.check,
            )
        except BaseException:
            self._refund(back)
            raise
        return back + obtained

    def _take_back(self, most_bytes: int, besides: int, *, wait_s: float = 0.0) -> int:
        """Of what is at hand, also what was handed ahead to the companion and it has no use for; how many."""
        batches = self.staging.batches
        if batches is not None:
            batches.rest(wait_s)
        with self._money:
            back = max(0, min(most_bytes, self._allowance - besides))
            self._allowance -= back
        return back

    def _ask(self, size_bytes: int, *, files: int = 1) -> bool:
        self.check()
        try:
            return self._ask_once(size_bytes, files)
        except StateLost:
            self._desk.when_ready(self._register)
            return self._ask_once(size_bytes, files)

    def _ask_once(self, size_bytes: int, files: int) -> bool:
        limit_bytes = self._desk.space.limit_for(size_bytes, files=files)
        if limit_bytes is None:
            return False
        with self._books:
            # On the volume before it is asked for: whoever brings a lost Redis back counts it (I5).
            try:
                self.staging.state_reserved(self._granted + size_bytes)
            except NoSpace:
                return False
            try:
                fits = self._desk.coordination.operations.reserve(
                    self.id, self.epoch, size_bytes, limit_bytes=limit_bytes
                )
                if fits:
                    with self._money:
                        self._granted += size_bytes
            finally:
                self._lower_statement()
        return fits

    def _lower_statement(self) -> None:
        """What stands on the volume is what is granted; where it cannot be written it stays too high."""
        with suppress(CaskeeperError):
            self.staging.state_reserved(self._granted)

    # -- claims -------------------------------------------------------------------------------------

    def claim(self, roots: Sequence[Digest]) -> bool:
        """A reader's right to ``roots`` until it ends; False: they are being removed, so absent."""
        names = sorted({root.hash for root in roots})
        # Remembered before it is asked for: whoever registers again meanwhile must not claim too little.
        new = set(names) - self._claimed
        self._claimed |= new

        def claim() -> bool:
            return self._desk.coordination.operations.claim(self.id, self.epoch, names)

        try:
            claimed = claim()
        except StateLost:
            self._desk.when_ready(self._register)
            claimed = claim()
        if not claimed and self._desk.relieve():
            claimed = claim()
        if not claimed:
            self._claimed -= new
        return claimed

    def hold(self, refs: Sequence[Ref], roots: Sequence[Digest]) -> None:
        """The last gate before publishing (safety.md section 9 «hold»). Waits while a name is condemned.

        Raises LeaseLost, Busy when the name stays condemned.
        """
        names = [str(ref) for ref in refs]
        hashes = sorted({root.hash for root in roots})
        self._claimed.update(hashes)  # as in ``claim``
        self._held.update(names)
        deadline = time.monotonic() + HOLD_WAIT_S
        while True:
            self.check()
            try:
                if self._desk.coordination.operations.hold(self.id, self.epoch, refs=names, roots=hashes):
                    return
            except StateLost:
                self._desk.when_ready(self._register)
                continue
            if time.monotonic() > deadline:
                raise Busy("the artifact is being removed", f"ref {names[0] if names else hashes[0]}")
            if not self._desk.relieve():
                time.sleep(0.02)
