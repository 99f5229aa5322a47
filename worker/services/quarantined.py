"""Removing quarantined files: through the trash of whoever has the lease, like everything that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.maintenance import DAMAGED, CleanupGroup
from worker.services.plan import EVICT
from worker.services.withdrawal import Withdrawal
from worker.store.quarantine import Quarantine
from worker.store.trash import unlink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.services.maintenance import Maintenance, Run
    from worker.store.quarantine import Quarantined


def make_way(run: Run, maintenance: Maintenance, *, needs_room: bool) -> int:
    """What a cleanup does before it looks at any group; freed bytes.

    Refs that came to need what is missing are withdrawn again, and for room all of this goes first.
    """
    Withdrawal(maintenance).again(run)
    return drop_quarantined(run, maintenance) if needs_room else 0


def drop_excess(run: Run, maintenance: Maintenance) -> int:
    """The oldest beyond what is kept; freed bytes, given back."""
    return _drop(run, maintenance, Quarantine(maintenance.volume).excess())


def drop_quarantined(run: Run, maintenance: Maintenance) -> int:
    """All of them, for a cleanup that needs room; freed bytes, given back.

    Also one that is young: it would stand in the way of what is fetched in its place. It also said for
    which refs to look again (worker.services.withdrawal); without it their next reader finds out.
    """
    return _drop(run, maintenance, Quarantine(maintenance.volume).listing())


def plan(maintenance: Maintenance) -> list[CleanupGroup]:
    """What ``drop_quarantined`` would take, as if it were a group of the plan; nothing when it is nothing."""
    going = Quarantine(maintenance.volume).listing()
    if not going:
        return []
    reason = f"found damaged before ({len(going)} kept for a look)"
    size_bytes = sum(one.size_bytes for one in going if not one.links)
    return [CleanupGroup(root=DAMAGED, refs=(), action=EVICT, reason=reason, frees_bytes=size_bytes)]


def _drop(run: Run, maintenance: Maintenance, going: Iterable[Quarantined]) -> int:
    freed = 0
    for one in going:
        run.check()
        taken = run.trash.fresh()
        if maintenance.volume.take(one.path, taken):
            freed += unlink(maintenance.volume, taken)
    if freed:
        maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
    return freed
