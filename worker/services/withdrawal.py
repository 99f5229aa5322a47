"""Withdrawing refs that need what is missing: under the maintenance lease, condemned like an eviction.

A writer that had relied on an object before it was taken away may publish after every withdrawal that looks
now. So a cleanup withdraws again for what lies in quarantine, once the operations that were alive then have
ended (safety.md section 5).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from caskeeper.coordination.events import WITHDRAWN, Event
from caskeeper.digest import EMPTY, Digest
from worker.services.eviction import Evictor
from worker.services.owners import Owner, Owners
from worker.store.quarantine import Quarantine
from worker.store.whole import refuse_out_of_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from caskeeper.artifact import Ref
    from worker.services.maintenance import Maintenance, Run

log = logging.getLogger(__name__)


class Withdrawal:
    """What only the holder of the lease may do with refs that cannot be read."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._may_come_back = maintenance.may_come_back
        self._refs = maintenance.refs
        self._objects = maintenance.objects
        self._coordination = maintenance.coordination
        self._quarantine = Quarantine(maintenance.volume)
        self._layout = maintenance.volume.layout
        self.owners = Owners(maintenance.refs, maintenance.closures, maintenance.objects)

    def __call__(
        self, run: Run, hashes: Collection[str], *, spared: Callable[[Ref], bool] = lambda _ref: False
    ) -> list[Ref]:
        """Withdraw every ref that needs one of ``hashes`` whose object is missing; those that are gone.

        Sessions and pins do not hold what cannot be read. One that an operation works with stays for now,
        and so does everything while nothing may be evicted after a loss of Redis. Raises LeaseLost.
        """
        groups: dict[tuple[str, ...], list[Owner]] = {}
        for owner in self.owners.of({hash_hex for hash_hex in hashes if self.is_missing(hash_hex)}):
            if not spared(owner.ref):
                groups.setdefault(tuple(root.hash for root in owner.record.roots), []).append(owner)
        gone: list[Ref] = []
        for roots, owners in groups.items():
            run.check()
            gone += self._withdraw_group(run, roots, owners)
        return gone

    def again(self, run: Run) -> list[Ref]:
        """For what lies in quarantine and came back by nobody.

        Only once the operations of that time have ended, the one that heals among them: it may be about to
        bring the content back. Not where a remote of the project may have it: no cleanup asks any, the next
        reader and `verify --repair` do.
        """
        kept = self._quarantine.listing()
        hashes = {one.hash_hex for one in kept if one.hash_hex and one.age_ns < run.horizon_ns}
        return self(run, hashes, spared=self._may_come_back)

    def is_missing(self, hash_hex: str) -> bool:
        """Whether nothing stands at its place, and no cleanup holds it.

        VolumeFailed when its folder is not there: no ref goes for what may be out of reach only (I9, I10).
        """
        if hash_hex == EMPTY.hash or self._objects.find(Digest(hash_hex, 0)):
            return False
        refuse_out_of_reach(self._layout, self._layout.object(hash_hex), certain=True)
        return True

    def _withdraw_group(self, run: Run, roots: Sequence[str], owners: Sequence[Owner]) -> list[Ref]:
        """Condemned, looked at once more, taken: who publishes the same meanwhile waits, and then does."""
        maintenance = self._coordination.maintenance
        names = [str(owner.ref) for owner in owners]
        # Without their keys: a session requires what is there, and this is not.
        reason = maintenance.condemn(run.holder, run.epoch, roots=roots, refs=names, keys=[])
        if reason:
            log.info("not withdrawn yet", extra={"ref": names[0], "reason": reason})
            return []
        evictor = Evictor(run.trash, self._refs, horizon_ns=run.horizon_ns)
        gone: list[Ref] = []
        freed = 0
        lost = sorted({one for owner in owners for one in owner.hashes if self.is_missing(one)})
        try:
            if lost:
                needs = {owner.ref: owner.hashes.intersection(lost) for owner in owners}
                judged = [(owner.ref, owner.record) for owner in owners if needs[owner.ref]]
                # Somebody may have uploaded it since, and a session have found the ref whole.
                gone, freed = evictor.take_refs(
                    judged, is_wanted=lambda ref: not any(map(self.is_missing, needs[ref]))
                )
                freed += evictor.remove_extracts(
                    self._layout.extract(ref, root) for ref in gone for root in roots
                )
        finally:
            maintenance.uncondemn(run.holder, run.epoch, roots=roots, refs=names, keys=[])
            if freed:
                maintenance.give_back(run.holder, run.epoch, freed)
            if gone:
                self._tell(run, gone, lost, roots_text=owners[0].record.roots_text)
        return gone

    def _tell(self, run: Run, gone: Sequence[Ref], lost: Sequence[str], *, roots_text: str) -> None:
        """Into the log of events: what was wrong, and where what was found is kept."""
        kept = {one.hash_hex: one.path for one in self._quarantine.listing()}
        damaged = next((one for one in lost if one in kept), None)
        why = f"{lost[0]} is missing, and no remote gave it"
        if damaged is not None:
            why = f"{damaged} was damaged, and no remote gave it; what was found is kept in {kept[damaged]}"
        self._coordination.events.note_all(
            [Event(WITHDRAWN, str(ref), why=why, by=run.holder, before=roots_text) for ref in gone]
        )
        log.warning("ref withdrawn", extra={"ref": str(gone[0]), "refs": len(gone), "hash": lost[0]})
