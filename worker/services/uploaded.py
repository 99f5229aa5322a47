"""What clients uploaded to a server and never bound to a name: found by its journals, gone before all else.

Interface section 5: content that nothing refers to after the grace goes first. Nothing is listed for it and
no object is looked at that some group still needs. Taking is as for a sweep: what no closure list of the
inventory holds, by two looks at the age, so whatever an operation, a server or a promise has made young
stays, and its journal with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.contract import CleanupGroup
from caskeeper.maintenance import UPLOADS
from worker.services.plan import EVICT, YOUNG
from worker.store.journal import ended_journals
from worker.store.taking import age_ns_of
from worker.store.trash import unlink

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.services.eviction import Evictor
    from worker.services.plan import Inventory
    from worker.store.journal import JournalFile
    from worker.store.volume import Volume

_REASON = "uploaded, and no ref names it"
_YOUNG = "uploaded or used so recently that its client may still bind a ref to it"


@dataclass
class _Judged:
    """One journal: what of it is to go, and whether something of it is too young for that."""

    file: JournalFile
    going: list[bytes] = field(default_factory=list)
    young: bool = False


@dataclass
class Uploaded:
    """The plan for all journals whose operation has ended. ``objects``: how many are to go."""

    judged: list[_Judged] = field(default_factory=list)
    objects: int = 0
    frees_bytes: int = 0
    young: bool = False

    def as_messages(self) -> list[CleanupGroup]:
        """The printable form, as if it were a group of the plan; nothing when there is nothing."""
        shown = []
        if self.objects:
            many = "1 object" if self.objects == 1 else f"{self.objects} objects"
            shown.append((EVICT, f"{_REASON} ({many})", self.frees_bytes))
        if self.young:
            shown.append((YOUNG, _YOUNG, 0))
        return [
            CleanupGroup(root=UPLOADS, refs=(), action=action, reason=reason, frees_bytes=size_bytes)
            for action, reason, size_bytes in shown
        ]


def find_uploaded(volume: Volume, inventory: Inventory, *, horizon_ns: int) -> Uploaded:
    """Read the journals of ended operations. VolumeFailed when one cannot be read (I9).

    What some group needs is that group's from now on: it goes when its closure list does.
    """
    plan = Uploaded()
    seen: set[bytes] = set()
    for file in ended_journals(volume):
        judged = _Judged(file)
        for raw, size_bytes in file.records():
            if raw in seen or inventory.is_needed(raw):
                continue
            age_ns = age_ns_of(volume.layout.object(raw.hex()))
            if age_ns is None:
                continue
            if age_ns >= horizon_ns:
                judged.young = plan.young = True
                continue
            seen.add(raw)
            judged.going.append(raw)
            plan.frees_bytes += volume.charge(size_bytes)
        plan.objects += len(judged.going)
        plan.judged.append(judged)
    return plan


def evict_uploaded(
    evictor: Evictor, plan: Uploaded, *, give_back: Callable[[int], None], check: Callable[[], None]
) -> int:
    """Take what is to go, and the journals of which nothing is left. Answers the freed bytes.

    They are given back journal by journal. ``check`` raises LeaseLost when the cleanup's lease is no longer
    ours. A journal goes after its objects: a crash leaves it, and what it says is looked at again.
    """
    plan.frees_bytes = 0
    for judged in plan.judged:
        check()
        freed_bytes, kept = 0, judged.young
        for number, raw in enumerate(judged.going, start=1):
            if number % 256 == 0:
                check()
            freed, young = evictor.take_object(raw.hex())
            freed_bytes += freed
            kept = kept or young
        if not kept:
            taken = evictor.trash.fresh()
            if evictor.volume.take(judged.file.path, taken):
                freed_bytes += unlink(evictor.volume, taken)
        give_back(freed_bytes)
        plan.frees_bytes += freed_bytes
    return plan.frees_bytes
