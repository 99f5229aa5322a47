"""Which groups of a plan go together, and which are told in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.coordination.events import EVICTED, Event
from worker.services.plan import EVICT, KEPT, PROTECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from worker.services.eviction import Evicted
    from worker.services.plan import Planned

#: So many groups share their calls of Redis at most, and those after the first have so many objects at most:
#: what they give back is counted when all of them are gone.
BATCH, BATCH_OBJECTS = 64, 4096
#: So many of the groups that stay are told.
KEPT_TOLD = 1000


def told_of(groups: Sequence[Planned]) -> Iterator[Planned]:
    """Those that go, that could not, and the next ones: all that stay would be as many as the cache has."""
    kept = 0
    for group in groups:
        kept += group.action == KEPT
        if group.action != KEPT or kept <= KEPT_TOLD:
            yield group


def next_batch(chosen: Sequence[Planned], number: int, lacking_bytes: int) -> list[Planned]:
    """The next groups that go together: never more than half of what is still lacking, but always one.

    So the target is not passed by much when more becomes free than was reckoned.
    """
    batch = [chosen[number]]
    sum_bytes, objects = batch[0].frees_bytes, batch[0].frees_objects
    for group in chosen[number + 1 : number + BATCH] if lacking_bytes else ():
        sum_bytes += group.frees_bytes
        objects += group.frees_objects
        if 2 * sum_bytes > lacking_bytes or objects > BATCH_OBJECTS:
            break
        batch.append(group)
    return batch


class UnderWay(NamedTuple):
    """Groups whose names are gone, and what became of them as far as ``is_over`` says that it is known."""

    groups: list[Planned]
    results: list[Evicted]
    is_over: Callable[[], bool]
    #: what is to become free, as it was reckoned
    frees_bytes: int
    #: what becomes of the refs, as the event log says it
    what: str = EVICTED


def events_of(done: Iterable[tuple[Planned, Evicted]], holder: str, *, what: str, why: str) -> list[Event]:
    """Refs of groups are gone; with the last ref of one goes what was reckoned."""
    events = []
    for group, result in done:
        gone = [entry for entry in group.entries if entry.ref in set(result.refs)]
        events += [
            Event(
                what,
                str(entry.ref),
                f"{why}; {group.reason}" if what == EVICTED else why,
                holder,
                before=entry.record.roots_text if entry.record else "",
                freed_bytes=group.frees_bytes if len(gone) == len(group.entries) else 0,
                used_ms=group.used_ms,
            )
            for entry in gone
        ]
    return events


def names_of(groups: Sequence[Planned]) -> dict[str, list[str]]:
    """What is condemned of groups."""
    return {
        "roots": [root for group in groups for root in group.roots],
        "refs": [name for group in groups for name in group.names],
        "keys": [key for group in groups for key in group.keys],
    }


def instead(
    chosen: Sequence[Planned], groups: Sequence[Planned], *, reached: Callable[[], bool]
) -> Iterator[Planned]:
    """The next groups, as long as the target is not reached for want of one that somebody works with."""
    if any(group.action == PROTECTED for group in chosen):
        for group in groups:
            if group.action == KEPT and not group.young:
                if reached():
                    return
                group.action = EVICT
                yield group
