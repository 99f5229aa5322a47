"""Which refs need given content: one pass over the refs and their closure lists, no object is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker.store.damage import trouble_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.closure import Scope
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefRecord, Refs


class Owner(NamedTuple):
    """A ref, and which of the hashes that were asked for it needs."""

    ref: Ref
    record: RefRecord
    hashes: frozenset[str]


class Owners:
    """Asked anew each time: a writer may publish at any moment."""

    def __init__(self, refs: Refs, closures: Closures, objects: Objects) -> None:
        self._refs = refs
        self._closures = closures
        self._objects = objects

    def of(self, hashes: Collection[str]) -> list[Owner]:
        """Every ref whose closure names one of ``hashes``. A record that cannot be read names nothing.

        A tree without a list of which a Directory is gone cannot be looked through: it needs that one.
        Raises VolumeFailed when the refs cannot be listed (I9).
        """
        raws = {bytes.fromhex(hash_hex): hash_hex for hash_hex in hashes}
        if not raws:
            return []
        known: dict[tuple[str, str], frozenset[str]] = {}
        found = []
        for entry in self._refs.listing():
            if entry.record is None:
                continue
            needed: frozenset[str] = frozenset()
            for root in entry.record.roots:
                key = (root.hash, entry.record.scope.id)
                if key not in known:
                    known[key] = self._named(root, entry.record.scope, raws)
                needed |= known[key]
            if needed:
                found.append(Owner(entry.ref, entry.record, needed))
        return found

    def _named(self, root: Digest, scope: Scope, raws: dict[bytes, str]) -> frozenset[str]:
        try:
            listing = self._closures.obtain(root, scope, self._objects)
        except (BlobMissing, DigestMismatch, InvalidRequest) as gap:
            trouble = trouble_of(gap)
            gone = trouble.digest.hash if trouble is not None and trouble.digest is not None else ""
            return frozenset({gone} & set(raws.values()))
        return frozenset(hash_hex for raw, hash_hex in raws.items() if listing.holds(raw))
