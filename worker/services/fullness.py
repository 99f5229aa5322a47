"""Why a cache stays full: who keeps what from going, and what would help (AC-44, interface section 4)."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.config.sizes import pretty_size, pretty_sizes
from caskeeper.contract import CleanupHolder
from worker.services.keepers import OPERATION, PIN, SESSION, describe
from worker.services.plan import PROTECTED, YOUNG
from worker.services.space import INODES_HIGH, INODES_LEAST
from worker.store.promises import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caskeeper.config.settings import LeaseSettings
    from caskeeper.contract import CleanupResult
    from caskeeper.coordination import Coordination, OperationRecord, SessionRecord
    from caskeeper.pins import PinSet
    from worker.services.plan import Inventory, Planned
    from worker.services.space import Now

RUNNING, SERVER, UPLOADS, MARGIN = "running", "server", "uploads", "margin"
#: What these hold does not go by waiting.
LASTING = frozenset({SESSION, PIN})
#: The verb of a server's own operation.
_SERVE = "serve"
#: So many are named, the largest first.
_NAMED = 5


class Who(NamedTuple):
    """A holder without what it holds."""

    kind: str
    name: str
    detail: str = ""


def find_holders(
    inventory: Inventory,
    *,
    oldest: str,
    kept_young: int,
    coordination: Coordination,
    pins: PinSet,
) -> tuple[CleanupHolder, ...]:
    """Everybody who keeps a group of ``inventory`` from going, the one with most content first.

    ``oldest`` is whose start the horizon of the cleanup was; ``kept_young`` things stayed because of it.
    """
    operations, requirers = coordination.operations.list(), coordination.sessions.requirers()
    since = _since(oldest, operations, coordination.leases)
    held: dict[Who, list[Planned]] = {}
    for group in inventory.groups:
        if group.action == PROTECTED:
            found = _protectors(group, requirers, pins, operations)
        else:
            found = {since} if group.action == YOUNG else set()
        for who in found:
            held.setdefault(who, []).append(group)
    if kept_young:
        held.setdefault(since, [])
    holders = [
        CleanupHolder(
            kind=who.kind,
            name=who.name,
            detail=who.detail,
            artifacts=len(groups),
            size_bytes=inventory.size_of(groups),
        )
        for who, groups in held.items()
    ]
    return tuple(sorted(holders, key=lambda one: (-one.size_bytes, one.kind, one.name)))


def _protectors(
    group: Planned,
    requirers: Mapping[str, Sequence[SessionRecord]],
    pins: PinSet,
    operations: Sequence[OperationRecord],
) -> set[Who]:
    claims = {f"root:{root}" for root in group.roots} | {f"ref:{name}" for name in group.names}
    return {
        *(Who(SESSION, one.id, one.label) for key in group.keys for one in requirers.get(key, ())),
        *(Who(PIN, pattern) for entry in group.entries if (pattern := pins.holder(entry.ref))),
        *(Who(OPERATION, one.id, describe(one)) for one in operations if claims.intersection(one.claims)),
    }


def _since(oldest: str, operations: Sequence[OperationRecord], leases: LeaseSettings) -> Who:
    """What was used since this began is too young to go."""
    grace = f"`leases: upload-grace` ({leases.upload_grace_s:g} s)"
    for record in operations:
        if record.id == oldest and record.verb == _SERVE:
            return Who(
                SERVER, record.id, f"{describe(record)}, which keeps what its clients used for {grace}"
            )
        if record.id == oldest:
            return Who(RUNNING, record.id, describe(record))
    if oldest.startswith(PREFIX):
        return Who(UPLOADS, oldest, f"what a server told its clients is kept for {grace}")
    if oldest:
        return Who(RUNNING, oldest, f"operation {oldest}")
    return Who(MARGIN, "leases: clock-margin", f"used in the last {leases.clock_margin_s:g} s")


def is_for_good(result: CleanupResult, *, quota_bytes: int, short_bytes: int = 1, own_bytes: int = 0) -> bool:
    """Whether waiting does not help: what is left is required or pinned, and nothing else holds any of it.

    What has no ref and is only too young goes by waiting, except the ``own_bytes`` of whoever asks. It helps
    when it makes up for the ``short_bytes`` that are lacking.
    """
    holders = [one for one in result.holders if one.artifacts]
    if any(one.kind in LASTING and one.size_bytes > quota_bytes for one in holders):
        return True
    if not holders or any(one.kind not in LASTING for one in holders):
        return False
    passing_bytes = result.young_bytes - own_bytes
    return passing_bytes <= 0 or passing_bytes < short_bytes


def explain(
    now: Now,
    result: CleanupResult | None,
    *,
    operations: Sequence[OperationRecord],
    config_file: str,
    capacity_bytes: int,
    size_bytes: int = 0,
) -> tuple[str, list[str]]:
    """The numbers with who is behind them, and what would help.

    ``size_bytes`` more were to be written. ``capacity_bytes`` is what the quota would be on a disk that
    nobody else used.
    """
    limits, usage, disk = now
    quota, used, reserved = pretty_sizes(limits.quota_bytes, usage.used_bytes, usage.reserved_bytes)
    short = usage.used_bytes + usage.reserved_bytes + size_bytes - limits.quota_bytes
    too_much = f": {pretty_size(short)} too much" if short > 0 else ""
    parts = [f"quota {quota}, used {used}, reserved {reserved}{_reservers(operations)}{too_much}"]
    ways = []
    if now.inodes_below(INODES_LEAST if size_bytes else INODES_HIGH):
        parts.append(f"only {now.inodes}")
        ways.append("delete small files on that file system, or give the cache one with more inodes")
    elif limits.quota_bytes < capacity_bytes or disk.available_bytes < limits.reserved_disk_bytes:
        free, kept = pretty_sizes(disk.available_bytes, limits.reserved_disk_bytes)
        parts.append(
            f"the disk has no room for more: {free} are free, of which `reserved-disk-space` keeps {kept}"
        )
        ways.append("free space on the disk")
    else:
        ways.append(f"raise `cache: quota` in {config_file}")
    holders = () if result is None else result.holders
    parts += [sentence(one) for one in holders[:_NAMED]]
    if len(holders) > _NAMED:
        parts.append(f"{len(holders) - _NAMED} more hold something")
    return "; ".join(parts), [*ways, *ways_past(holders[:_NAMED])]


def ways_past(holders: Sequence[CleanupHolder]) -> list[str]:
    """How what these keep for good could go."""
    sessions = [one.name for one in holders if one.kind == SESSION]
    pins = [shlex.quote(one.name) for one in holders if one.kind == PIN]
    ways = []
    if sessions:
        ways.append(
            f"end session {', '.join(sessions)} when its artifacts are no longer needed "
            "(`caskeeper session close ID`)"
        )
    if pins:
        ways.append(f"`caskeeper unpin {' '.join(pins)}`")
    return ways


def _reservers(operations: Sequence[OperationRecord]) -> str:
    most = sorted(operations, key=lambda one: -one.reserved_bytes)[:3]
    named = [f"{pretty_size(one.reserved_bytes)} by {describe(one)}" for one in most if one.reserved_bytes]
    return f" ({', '.join(named)})" if named else ""


def sentence(one: CleanupHolder) -> str:
    """Who it is, and what they hold."""
    count = f"{one.artifacts} artifact{'' if one.artifacts == 1 else 's'}"
    what = f"{count} of {pretty_size(one.size_bytes)}"
    if one.kind == SESSION:
        readable = one.detail if one.detail.isprintable() else ascii(one.detail)[1:-1]
        label = f" ({readable})" if one.detail else ""
        return f"session {one.name}{label} requires {what}"
    if one.kind == PIN:
        return f"pin {one.name} keeps {what}"
    if one.kind == OPERATION:
        return f"{one.detail} uses {what}"
    young = f"{what if one.artifacts else 'content'} too young to go"
    if one.kind in {RUNNING, SERVER}:
        return f"{young}: used since the start of {one.detail}"
    return f"{young}: {one.detail}"
