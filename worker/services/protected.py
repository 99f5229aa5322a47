"""How much content nobody may evict at this moment: what pins and sessions keep, each object once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caskeeper.coordination import Coordination
    from worker.store.closures import Closures
    from worker.store.pins import Pins
    from worker.store.refs import Refs


class ProtectedBytes:
    """For people who watch; a cleanup decides by its own plan."""

    def __init__(self, refs: Refs, closures: Closures, pins: Pins, coordination: Coordination) -> None:
        self._refs = refs
        self._closures = closures
        self._pins = pins
        self._coordination = coordination

    def __call__(self) -> int:
        """By the closure lists that are there: trees without one are not walked, so it may be too low.

        Raises Busy while the state is lost, CoordinatorUnavailable, VolumeFailed, PermissionDenied.
        """
        required = self._coordination.sessions.requirers().keys()
        pins = self._pins.read()
        trees = {
            (root.hash, entry.record.scope.id)
            for entry in self._refs.listing(strangers=[])
            if entry.record is not None and (entry.ref.key in required or pins.holders(entry.ref))
            for root in entry.record.roots
        }
        sizes: dict[bytes, int] = {}
        for root_hash, scope_id in trees:
            found = self._closures.read(root_hash, scope_id)
            if found is not None:
                sizes.update((raw, size_bytes) for raw, size_bytes, _ in found.entries)
        return sum(sizes.values())
