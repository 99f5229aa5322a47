"""Operations: the right to change the volume (safety.md section 3), paid for by a ``Reservation``.

An operation is a folder on the volume (the truth) and a record in Redis (start, expiry, reservation,
claims) that this process renews. Whoever loses one finds out at the next ``check``, at the next
reservation, or because its folder is gone: never by damaging what others rely on.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, CoordinatorUnavailable, LeaseLost
from worker.services.reservation import Reservation
from worker.store.blobs import StoreBlobs
from worker.store.companion.batches import Batches
from worker.store.staging import Staging
from worker.store.volume import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk

log = logging.getLogger(__name__)

#: How long a writer waits for a condemned name to be free again before it gives up.
HOLD_WAIT_S = 30.0


class Operation:
    """One running verb. Made by the desk; ends with its ``with`` block."""

    def __init__(
        self,
        desk: OperationDesk,
        verb: str,
        subject: str,
        context: Context,
        *,
        room_wait_s: float,
        of_many: bool = False,
    ) -> None:
        self._desk = desk
        self.verb = verb
        self.subject = subject
        self.context = context
        self.id = f"{verb}-{uuid.uuid4().hex}"
        self.epoch = ""
        self._reservation = Reservation(self, desk, room_wait_s=room_wait_s, of_many=of_many)
        self.staging = Staging(
            desk.volume,
            self.id,
            spend=self._reservation.spend,
            refund=self._reservation.refund,
            check=self.check,
            spend_at_hand=self._reservation.spend_at_hand,
        )
        self.blobs = StoreBlobs(self.staging, desk.objects)
        if desk.companion is not None:
            self.staging.batches = Batches(desk.companion, self.blobs)
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
        self._desk.when_ready(self.register)

    def register(self) -> None:
        """Known in Redis, again after a loss, with what is reserved and claimed. StateLost, LeaseLost."""
        with self._reservation.books:
            self.epoch = self._desk.coordination.operations.register(
                self.id,
                verb=self.verb,
                subject=self.subject,
                host=self._desk.host,
                reserved_bytes=self._reservation.granted,
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
            self.register()
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
        """Somebody still works under it while it ends, or was torn from it: what he published may be untold.

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
        outcome = self.staging.end()
        self._fenced = outcome is Outcome.GONE
        try:
            untold = not outcome or self._in_use
            self._settle(fenced=(untold and self._reservation.granted > 0) or self.staging.is_doubtful)
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
        if self._reservation.settle(fenced=fenced):
            return
        if self._reservation.granted and self._desk.coordination.state().epoch != self.epoch:
            self._claimed.clear()
            self._held.clear()
            self._desk.when_ready(self.register)
            self._reservation.settle(fenced=fenced)

    # -- room and counts ----------------------------------------------------------------------------

    def reserve(self, size_bytes: int, *, look_again: Callable[[], int] | None = None) -> None:
        """As ``Reservation.reserve``."""
        self._reservation.reserve(size_bytes, look_again=look_again)

    def settle_part(self) -> None:
        """As ``Reservation.settle_part``."""
        self._reservation.settle_part()

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
            self._desk.when_ready(self.register)
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
                self._desk.when_ready(self.register)
                continue
            if time.monotonic() > deadline:
                raise Busy("the artifact is being removed", f"ref {names[0] if names else hashes[0]}")
            if not self._desk.relieve():
                time.sleep(0.02)
