"""The part of `doctor` that asks whether a cleanup could make room: what is kept for good against the limits.

A bounded look: at the counters always, at the refs and the closure lists of those that are pinned or required
only where the cache is nearly full.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.config.quota import limits as limits_of
from caskeeper.config.sizes import pretty_size, pretty_sizes
from caskeeper.contract import CleanupHolder
from caskeeper.coordination import Coordination
from caskeeper.errors import CaskeeperError
from caskeeper.layout import Layout
from caskeeper.pins import read_pins
from worker.services.checks import Check, Checks
from worker.services.fullness import Who, sentence, ways_past
from worker.services.keepers import PIN, SESSION
from worker.store.closures import Closures
from worker.store.format import find_format
from worker.store.refs import Refs
from worker.store.volume import Volume

if TYPE_CHECKING:
    from caskeeper.config import Settings
    from caskeeper.config.quota import Limits
    from caskeeper.coordination import Usage

#: So many refs are looked at, and so many closure lists are read.
_REFS, _LISTS = 20_000, 1000
#: A share of the quota from which on it is asked also where a cleanup begins later.
_FULL = 0.9
#: So many holders are named, the largest first.
_NAMED = 5


class Held(NamedTuple):
    """What does not go: so much at least, because of whom, and whether all refs were looked at."""

    size_bytes: int
    holders: tuple[CleanupHolder, ...]
    whole: bool


def look_at_room(settings: Settings, url: str) -> list[Check]:
    """Nothing where volume or counters cannot be read: other checks tell why."""
    checks = Checks("volume")
    layout = Layout(settings.cachedir)
    try:
        found = find_format(layout)
        if found is None:
            return []
        volume = Volume(layout)
        volume.block_bytes = found.block_bytes
        coordination = Coordination.connect(url, volume_id=found.volume_id, leases=settings.leases)
        try:
            _judge(checks, settings, volume, coordination)
        finally:
            coordination.close()
    except CaskeeperError:
        return []
    return checks.made


def _judge(checks: Checks, settings: Settings, volume: Volume, coordination: Coordination) -> None:
    usage, disk = coordination.usage.snapshot(), volume.space()
    limits = limits_of(
        settings.cache,
        total_bytes=disk.total_bytes,
        available_bytes=disk.available_bytes,
        used_bytes=usage.used_bytes,
    )
    lacking = max(0, limits.reserved_disk_bytes - disk.available_bytes)
    told = _filling(usage, limits)
    taken = usage.used_bytes + usage.reserved_bytes
    if taken <= min(limits.high_bytes, _FULL * limits.quota_bytes) and not lacking:
        checks.ok("room", told)
        return
    held = find_held(volume, coordination)
    target = max(0, min(limits.low_bytes, usage.used_bytes - lacking))
    if held.size_bytes <= target:
        kept = f"{pretty_size(held.size_bytes)} of it {'' if held.whole else 'or more '}pinned or required"
        checks.ok("room", f"{told}, {kept}: a cleanup makes room")
        return
    who = "; ".join(sentence(one) for one in held.holders[:_NAMED])
    kept, goal = pretty_sizes(held.size_bytes, target)
    where = settings.source or settings.config_file or "the configuration"
    checks.warning(
        "room",
        f"{told}, and at least {kept} of it cannot go, so a cleanup does not come down to {goal}: {who}",
        ", or ".join([*ways_past(held.holders[:_NAMED]), f"raise `cache: quota` in {where}"]),
    )


def _filling(usage: Usage, limits: Limits) -> str:
    taken = usage.used_bytes + usage.reserved_bytes
    share = 100 * taken // limits.quota_bytes if limits.quota_bytes else 100
    used, quota = pretty_size(taken, 1), pretty_size(limits.quota_bytes, 1)
    return f"{used} of the quota {quota} are used, {share}%"


def find_held(volume: Volume, coordination: Coordination) -> Held:
    """What pins and sessions keep. Makes nothing young, rebuilds nothing; what cannot be read is left out."""
    pins, required = read_pins(volume.layout), coordination.sessions.requirers()
    refs, closures = Refs(volume), Closures(volume)
    looked = lists = 0
    content: dict[bytes, int] = {}
    of: dict[Who, set[bytes]] = {}
    artifacts: dict[Who, int] = {}
    for entry in islice(refs.listing(strangers=[]), _REFS):
        looked += 1
        who = [Who(SESSION, one.id, one.label) for one in required.get(entry.ref.key, ())]
        who += [Who(PIN, pattern) for pattern in (pins.holder(entry.ref),) if pattern]
        if not who or entry.record is None:
            continue
        if lists == _LISTS:
            break
        lists += 1
        own: dict[bytes, int] = {}
        for root in entry.record.roots:
            found = closures.read(root.hash, entry.record.scope.id)
            if found is not None:
                own.update((raw, volume.charge(size)) for raw, size, _is_directory in found.entries)
        content |= own
        for one in who:
            artifacts[one] = artifacts.get(one, 0) + 1
            of.setdefault(one, set()).update(own)
    holders = [
        CleanupHolder(
            kind=one.kind,
            name=one.name,
            detail=one.detail,
            artifacts=artifacts[one],
            size_bytes=sum(content[raw] for raw in hashes),
        )
        for one, hashes in of.items()
    ]
    whole = looked < _REFS and lists < _LISTS
    ranked = sorted(holders, key=lambda one: (-one.size_bytes, one.kind, one.name))
    return Held(sum(content.values()), tuple(ranked), whole)
