"""What a cleanup would evict, in which order, and why not the rest: pure, printable (AC-43, D-1).

Costs one pass over the refs and the closure lists; no object is looked at and no Directory parsed.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.contract import CleanupGroup
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest, VolumeFailed
from worker.services.eviction import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.coordination import SessionRecord
    from caskeeper.layout import Layout
    from caskeeper.pins import PinSet
    from worker.closure import Scope
    from worker.services.maintenance import Maintenance
    from worker.store.closures import ClosureList, Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefEntry, Refs

EVICT, PROTECTED, YOUNG, KEPT = "evict", "protected", "young", "kept"


@dataclass
class Planned:
    """One group of the plan: what would happen to it, and why."""

    roots: tuple[str, ...]
    entries: list[RefEntry] = field(default_factory=list)
    lists: dict[tuple[str, str], int] = field(default_factory=dict)  # (root, scope) -> charged bytes
    digests: dict[bytes, int] = field(default_factory=dict)  # raw hash -> charged bytes
    extracts: list[str] = field(default_factory=list)  # paths
    age: tuple[int, int] = (0, 0)
    young: bool = False
    action: str = KEPT
    reason: str = ""
    frees_bytes: int = 0

    @property
    def keys(self) -> list[str]:
        """The keys of its refs: what sessions require (AC-29)."""
        return sorted({entry.ref.key for entry in self.entries})

    @property
    def names(self) -> list[str]:
        """Its refs as text."""
        return [str(entry.ref) for entry in self.entries]

    @property
    def used_ms(self) -> int:
        """When it was last used, by whichever clock ranks it."""
        by_redis, when = self.age
        return when if by_redis else when // 1_000_000

    def as_message(self) -> CleanupGroup:
        """The printable form."""
        return CleanupGroup(
            root=self.roots[0],
            refs=tuple(self.names),
            action=self.action,
            reason=self.reason,
            frees_bytes=self.frees_bytes,
        )


class Inventory:
    """All groups of the volume and who else needs what. Made after the horizon (safety.md section 5)."""

    def __init__(self, groups: list[Planned]) -> None:
        self.groups = groups
        self._needed: Counter[bytes] = Counter()
        self._lists: Counter[tuple[str, str]] = Counter()
        for group in groups:
            self._needed.update(group.digests.keys())
            self._lists.update(group.lists.keys())

    def free_of(self, group: Planned) -> list[bytes]:
        """What is in this group and in no other."""
        return [raw for raw in group.digests if self._needed[raw] == 1]

    def lists_of(self, group: Planned) -> list[tuple[str, str]]:
        """The closure lists that only this group has."""
        return [name for name in group.lists if self._lists[name] == 1]

    def frees_bytes(self, group: Planned, *, block_bytes: int) -> int:
        """The charged bytes that go with the group: objects, lists, refs (executables come on top)."""
        return (
            sum(group.digests[raw] for raw in self.free_of(group))
            + sum(group.lists[name] for name in self.lists_of(group))
            + block_bytes * len(group.entries)
        )

    def frees_inodes(self, group: Planned) -> int:
        """How many files go with the group, at least."""
        return len(self.free_of(group)) + len(self.lists_of(group)) + len(group.entries)

    def drop(self, group: Planned) -> None:
        """The group is gone: what it shared may now be free with the next one."""
        self._needed.subtract(group.digests.keys())
        self._lists.subtract(group.lists.keys())

    def as_group(self, group: Planned) -> Group:
        """The steps' view of a group."""
        return Group(
            roots=group.roots,
            refs=tuple((entry.ref, entry.record) for entry in group.entries),
            lists=tuple(self.lists_of(group)),
            free=tuple(raw.hex() for raw in self.free_of(group)),
            extracts=tuple(group.extracts),
        )

    def is_needed(self, raw: bytes) -> bool:
        """Whether some group still needs this digest."""
        return self._needed[raw] > 0

    def needed(self) -> set[bytes]:
        """Every digest that some group still needs."""
        return {raw for raw, count in self._needed.items() if count > 0}


def take_inventory(
    refs: Refs,
    closures: Closures,
    objects: Objects,
    *,
    charge: Callable[[int], int],
    scores: Callable[[Sequence[Ref]], Sequence[int | None]],
    horizon_ns: int,
) -> Inventory:
    """Read all refs, then all lists. Raises VolumeFailed when one cannot be read (I9).

    The refs are listed after the horizon was taken: what the listing misses was published later, and
    its objects are young.
    """
    entries = list(refs.listing())
    groups: dict[tuple[str, ...], Planned] = {}
    scopes: dict[str, list[tuple[Planned, Scope]]] = {}
    ranked = zip(entries, scores([entry.ref for entry in entries]), strict=True)
    for entry, score in ranked:
        if entry.record is None:
            raise VolumeFailed(
                "a ref record cannot be read, so what it protects is unknown",
                f"ref {entry.ref}",
                "`caskeeper verify --repair` fetches it anew, or drops it",
            )
        roots = tuple(root.hash for root in entry.record.roots)
        group = groups.setdefault(roots, Planned(roots))
        group.entries.append(entry)
        # LRU: a score of Redis is later than any age of the volume; the two clocks are never compared.
        group.age = max(group.age, (0, entry.age_ns) if score is None else (1, score))
        for root in entry.record.roots:
            scopes.setdefault(root.hash, []).append((group, entry.record.scope))
            try:
                _add(group, closures.obtain(root, entry.record.scope, objects), charge=charge)
            except (BlobMissing, DigestMismatch, InvalidRequest) as damage:
                raise VolumeFailed(
                    f"what an artifact consists of cannot be read ({damage.what})",
                    f"ref {entry.ref}",
                    f"`caskeeper pull --refresh {entry.ref}` mends it where a remote has it, "
                    f"`caskeeper remove {entry.ref}` drops it",
                ) from damage
    _add_lists(groups, scopes, closures, charge=charge, horizon_ns=horizon_ns)
    _add_extracts(groups, refs.volume.layout)
    return Inventory(sorted(groups.values(), key=lambda group: (bool(group.entries), group.age)))


def unranked(parts: Maintenance, *, horizon_ns: int) -> Inventory:
    """As ``take_inventory``, for whoever does not ask what was used last."""

    def no_scores(refs: Sequence[Ref]) -> list[int | None]:
        return [None] * len(refs)

    return take_inventory(
        parts.refs,
        parts.closures,
        parts.objects,
        charge=parts.volume.charge,
        scores=no_scores,
        horizon_ns=horizon_ns,
    )


def _add(group: Planned, closure: ClosureList, *, charge: Callable[[int], int]) -> None:
    group.digests.update((raw, charge(size)) for raw, size, _is_directory in closure.entries)


def _add_lists(
    groups: dict[tuple[str, ...], Planned],
    scopes: Mapping[str, list[tuple[Planned, Scope]]],
    closures: Closures,
    *,
    charge: Callable[[int], int],
    horizon_ns: int,
) -> None:
    """Give every closure list on the volume to its groups; one without a ref is a group of its own."""
    for root_hash, scope_id, size_bytes, age_ns in closures.listing():
        owners = [group for group, scope in scopes.get(root_hash, []) if scope.id == scope_id]
        if not owners:
            group = groups.setdefault((root_hash, scope_id), Planned((root_hash,)))
            found = closures.read(root_hash, scope_id)
            if found is not None:
                _add(group, found, charge=charge)
            owners = [group]
        for group in owners:
            group.lists[root_hash, scope_id] = size_bytes
            group.young = group.young or age_ns >= horizon_ns


def _add_extracts(groups: dict[tuple[str, ...], Planned], layout: Layout) -> None:
    """Give every shared checkout to the groups of its root; of a root nobody knows it is a group itself.

    Also one whose refs are gone: its cleanup died, or its ref was bound to another tree. As long as it
    stands, its links keep the content on the disk.
    """
    owners: dict[str, list[Planned]] = {}
    for group in groups.values():
        for root_hash in group.roots:
            owners.setdefault(root_hash, []).append(group)
    for path in _extracts(layout.extracts, depth=3):
        root_hash = os.path.basename(path)
        if root_hash not in owners:
            owners[root_hash] = [groups.setdefault((root_hash,), Planned((root_hash,)))]
        for group in owners[root_hash]:
            group.extracts.append(path)


def _extracts(folder: str, *, depth: int) -> Iterator[str]:
    """The folders ``<project>/<element>/<root>`` below; what vanishes meanwhile is fine."""
    try:
        with os.scandir(folder) as listing:
            paths = [entry.path for entry in listing if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for path in paths:
        if depth == 1:
            yield path
        else:
            yield from _extracts(path, depth=depth - 1)


def judge(
    inventory: Inventory,
    *,
    used_bytes: int,
    target_bytes: int,
    required: Mapping[str, Sequence[SessionRecord]],
    pins: PinSet,
    block_bytes: int,
    inodes: int = 0,
) -> None:
    """Mark what would be evicted until ``used_bytes`` is at ``target_bytes`` (AC-43, AC-45).

    And until ``inodes`` more are free. Reckons on a copy: what really becomes free is decided group by
    group, when the others are gone.
    """
    scratch = Inventory(inventory.groups)
    for group in inventory.groups:
        protection = _protection(group, required, pins)
        if protection:
            group.action, group.reason = PROTECTED, protection
        elif used_bytes <= target_bytes and inodes <= 0 and group.entries:
            group.action, group.reason = KEPT, "recently used, and the target is reached"
        elif group.young:
            group.action, group.reason = YOUNG, "used so recently that an operation may still rely on it"
        else:
            group.action = EVICT
            group.reason = "least recently used" if group.entries else "no ref names it"
            group.frees_bytes = scratch.frees_bytes(group, block_bytes=block_bytes)
            inodes -= scratch.frees_inodes(group)
            scratch.drop(group)
            used_bytes -= group.frees_bytes


def _protection(group: Planned, required: Mapping[str, Sequence[SessionRecord]], pins: PinSet) -> str:
    """Who keeps the group: sessions by the value of a key (AC-29), pins by a ref; '' = nobody."""
    reasons = []
    sessions = sorted({one.id for key in group.keys for one in required.get(key, ())})
    if sessions:
        reasons.append(f"required by session {', '.join(sessions)}")
    patterns = sorted({pattern for entry in group.entries if (pattern := pins.holder(entry.ref))})
    if patterns:
        reasons.append(f"pinned by {', '.join(patterns)}")
    return "; ".join(reasons)
