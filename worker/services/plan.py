"""What a cleanup would evict, in which order, and why not the rest: pure, printable (AC-43, D-1).

Costs one pass over the refs and the closure lists; no object is looked at and no Directory parsed. What is
kept in memory is about a kilobyte for an artifact and 13 bytes for a record of its closure list.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caskeeper.contract import CleanupGroup
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest, VolumeFailed
from worker.services.eviction import Group
from worker.services.needs import Needs, key_of
from worker.store.closures import RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.coordination import SessionRecord
    from caskeeper.layout import Layout
    from caskeeper.pins import PinSet
    from worker.services.maintenance import Maintenance
    from worker.services.needs import Needed
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefEntry, Refs

EVICT, PROTECTED, YOUNG, KEPT = "evict", "protected", "young", "kept"


@dataclass(slots=True, eq=False)
class Planned:
    """One group of the plan: what would happen to it, and why. ``number`` names its content."""

    roots: tuple[str, ...]
    entries: list[RefEntry] = field(default_factory=list)
    lists: tuple[tuple[str, str, int], ...] = ()  # root, scope, charged bytes
    extracts: tuple[str, ...] = ()  # paths
    age: tuple[int, int] = (0, 0)
    young: bool = False
    action: str = KEPT
    reason: str = ""
    frees_bytes: int = 0
    frees_objects: int = 0
    number: int = -1
    settled: bool = False

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
            frees_bytes=self.frees_bytes if self.action == EVICT else 0,
        )


class Inventory:
    """All groups of the volume and who else needs what. Made after the horizon (safety.md section 5)."""

    def __init__(self, closures: Closures, objects: Objects) -> None:
        self.groups: list[Planned] = []
        self._closures, self._objects = closures, objects
        self._block_bytes = objects.volume.block_bytes
        self._needs = Needs(self._block_bytes)
        self._shared: Counter[tuple[str, str]] = Counter()  # lists that several groups have
        self._gone: set[int] = set()
        self._stays: set[int] = set()  # numbers of what groups need that were to go and have not gone
        self._needed: Needed | None = None

    def add_content(self, group: Planned) -> None:
        """Read what belongs to a group. Raises VolumeFailed when that cannot be told (I9)."""
        group.number = self._needs.add(self._records(group))

    def add_lists(self, group: Planned, lists: tuple[tuple[str, str, int], ...], *, shared: bool) -> None:
        """Closure lists that go with the group; ``shared``: not before another one went."""
        group.lists += lists
        if shared:
            self._shared.update((root_hash, scope_id) for root_hash, scope_id, _ in lists)

    def settle(self, order: Sequence[Planned]) -> None:
        """What becomes free when the groups of ``order`` go one after the other and all others stay."""
        lists = self._shared.copy()
        freed = self._needs.settle([group.number for group in order])
        for group, (size_bytes, objects) in zip(order, freed, strict=True):
            own = self._lists_of(group, lists)
            lists.subtract((root_hash, scope_id) for root_hash, scope_id, _ in group.lists)
            group.frees_bytes = (
                size_bytes + sum(size for _, _, size in own) + self._block_bytes * len(group.entries)
            )
            group.frees_objects = objects + len(own) + len(group.entries)
            group.settled = True

    def steps(self, group: Planned) -> Group:
        """The steps' view of a settled group, read before anything of it is gone."""
        assert group.settled, "nobody has asked who else needs what"
        records = self._records(group)
        lists = group.lists
        if len(records) != self._needs.count(group.number) * RECORD_BYTES:
            records, lists = b"", ()  # somebody was at its list: what it names is found as garbage
        return Group(
            roots=group.roots,
            refs=tuple((entry.ref, entry.record) for entry in group.entries),
            lists=tuple((root_hash, scope_id) for root_hash, scope_id, _ in lists),
            free=tuple(self._needs.free(group.number, records)) if records else (),
            extracts=group.extracts,
        )

    def is_shared(self, root_hash: str, scope_id: str) -> bool:
        """Whether another group that has not gone has this closure list, too."""
        return self._shared[root_hash, scope_id] > 1

    def still_free(self, free: Iterable[bytes]) -> list[bytes]:
        """Without what groups need that did not go although they were to go."""
        return [raw for raw in free if key_of(raw) not in self._stays] if self._stays else list(free)

    def drop(self, group: Planned) -> None:
        """The group is gone."""
        self._gone.add(group.number)
        self._shared.subtract((root_hash, scope_id) for root_hash, scope_id, _ in group.lists)
        self._needed = None

    def keep(self, group: Planned) -> None:
        """The group was to go and stays, or a part of it: what it needs is not free with a later one."""
        self._stays.update(self._needs.keys(group.number))

    def is_needed(self, raw: bytes) -> bool:
        """Whether some group still needs this digest."""
        return raw in self.needed()

    def needed(self) -> Needed:
        """Every digest that some group still needs."""
        if self._needed is None:
            numbers = {group.number for group in self.groups} - self._gone
            self._needed = self._needs.all_of(numbers)
        return self._needed

    def size_of(self, groups: Iterable[Planned]) -> int:
        """The charged bytes of what these groups have, each object once."""
        return self._needs.size_bytes({group.number for group in groups})

    def _lists_of(self, group: Planned, shared: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
        """The closure lists that only this group has."""
        return [one for one in group.lists if shared[one[:2]] <= 1] if shared else list(group.lists)

    def _records(self, group: Planned) -> bytes:
        """The records of everything that belongs to the group, each digest once, sorted by hash."""
        found = {
            (root.hash, entry.record.scope.id): (entry.ref, root, entry.record.scope)
            for entry in group.entries
            if entry.record is not None
            for root in entry.record.roots
        }
        lists = []
        for ref, root, scope in found.values():
            try:
                lists.append(self._closures.obtain(root, scope, self._objects).records)
            except (BlobMissing, DigestMismatch, InvalidRequest) as damage:
                raise VolumeFailed(
                    f"what an artifact consists of cannot be read ({damage.what})",
                    f"ref {ref}",
                    f"`caskeeper pull --refresh {ref}` mends it where a remote has it, "
                    f"`caskeeper remove {ref}` drops it",
                ) from damage
        if not group.entries:
            for root_hash, scope_id, _ in group.lists:
                stored = self._closures.read(root_hash, scope_id)
                if stored is not None:
                    lists.append(stored.records)
        return lists[0] if len(lists) == 1 else _merged(lists)


def _merged(lists: Sequence[bytes]) -> bytes:
    records = {
        one[at : at + 32]: one[at : at + RECORD_BYTES]
        for one in lists
        for at in range(0, len(one), RECORD_BYTES)
    }
    return b"".join([records[raw] for raw in sorted(records)])


def take_inventory(
    refs: Refs,
    closures: Closures,
    objects: Objects,
    *,
    scores: Callable[[Sequence[Ref]], Sequence[int | None]],
    horizon_ns: int,
) -> Inventory:
    """Read all refs, then all lists. Raises VolumeFailed when one cannot be read (I9).

    The refs are listed after the horizon was taken: what the listing misses was published later, and
    its objects are young.
    """
    inventory = Inventory(closures, objects)
    entries = list(refs.listing())
    groups: dict[tuple[str, ...], Planned] = {}
    ranked = zip(entries, scores([entry.ref for entry in entries]), strict=True)
    for entry, score in ranked:
        if entry.record is None:
            raise VolumeFailed(
                "a ref record cannot be read, so what it protects is unknown",
                f"ref {entry.ref}",
                "`caskeeper verify --repair` fetches it anew, or drops it",
            )
        roots = tuple([root.hash for root in entry.record.roots])
        group = groups.get(roots)
        if group is None:
            group = groups[roots] = Planned(roots)
        group.entries.append(entry)
        # LRU: a score of Redis is later than any age of the volume; the two clocks are never compared.
        group.age = max(group.age, (0, entry.age_ns) if score is None else (1, score))
    del entries
    for group in groups.values():
        inventory.add_content(group)
    _add_lists(inventory, groups, closures, horizon_ns=horizon_ns)
    _add_extracts(inventory, groups, refs.volume.layout)
    inventory.groups = sorted(groups.values(), key=lambda group: (bool(group.entries), group.age))
    return inventory


def unranked(parts: Maintenance, *, horizon_ns: int) -> Inventory:
    """As ``take_inventory``, for whoever does not ask what was used last."""

    def no_scores(refs: Sequence[Ref]) -> list[int | None]:
        return [None] * len(refs)

    return take_inventory(
        parts.refs,
        parts.closures,
        parts.objects,
        scores=no_scores,
        horizon_ns=horizon_ns,
    )


def _add_lists(
    inventory: Inventory, groups: dict[tuple[str, ...], Planned], closures: Closures, *, horizon_ns: int
) -> None:
    """Give every closure list on the volume to its groups; one without a ref is a group of its own."""
    owning: dict[tuple[str, str], list[Planned]] = {}
    for group in groups.values():
        names = {(root, one.record.scope.id) for one in group.entries if one.record for root in group.roots}
        for name in names:
            owning.setdefault(name, []).append(group)
    for root_hash, scope_id, size_bytes, age_ns in closures.listing():
        owners = owning.get((root_hash, scope_id), [])
        if owners:
            root_hash = next(root for root in owners[0].roots if root == root_hash)  # noqa: PLW2901 -- one string
        one = (root_hash, sys.intern(scope_id), size_bytes)
        if not owners:
            group = groups[root_hash, scope_id] = Planned((root_hash,))
            inventory.add_lists(group, (one,), shared=False)
            inventory.add_content(group)
            owners = [group]
        else:
            for group in owners:
                inventory.add_lists(group, (one,), shared=len(owners) > 1)
        for group in owners:
            group.young = group.young or age_ns >= horizon_ns


def _add_extracts(inventory: Inventory, groups: dict[tuple[str, ...], Planned], layout: Layout) -> None:
    """Give every shared checkout to the groups of its root; of a root nobody knows it is a group itself.

    Also one whose refs are gone: its cleanup died, or its ref was bound to another tree. As long as it
    stands, its links keep the content on the disk.
    """
    paths: dict[str, list[str]] = {}
    for path in _extracts(layout.extracts, depth=3):
        paths.setdefault(os.path.basename(path), []).append(path)
    if not paths:
        return
    for group in groups.values():
        for root_hash in group.roots:
            if root_hash in paths:
                group.extracts += tuple(paths[root_hash])
    known = {root_hash for group in groups.values() for root_hash in group.roots if root_hash in paths}
    for root_hash in paths.keys() - known:
        group = groups[(root_hash,)] = Planned((root_hash,), extracts=tuple(paths[root_hash]))
        inventory.add_content(group)


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
    inodes: int = 0,
) -> None:
    """Mark what would be evicted until ``used_bytes`` is at ``target_bytes`` (AC-43, AC-45).

    And until ``inodes`` more are free. What really becomes free is what the unlinks free.
    """
    for group in inventory.groups:
        protection = _protection(group, required, pins)
        if protection:
            group.action, group.reason = PROTECTED, protection
    order = [group for group in inventory.groups if group.action != PROTECTED and not group.young]
    inventory.settle(order)
    for group in inventory.groups:
        if group.action == PROTECTED:
            continue
        if used_bytes <= target_bytes and inodes <= 0 and group.entries:
            group.action, group.reason = KEPT, "recently used, and the target is reached"
        elif group.young:
            group.action, group.reason = YOUNG, "used so recently that an operation may still rely on it"
        else:
            group.action = EVICT
            group.reason = "least recently used" if group.entries else "no ref names it"
            inodes -= group.frees_objects
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
