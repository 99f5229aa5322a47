"""`verify --repair` of refs whose record cannot be read: asked for by name, else set aside.

What such a ref consisted of is known to nobody. The remotes are asked first, and what one has is published
over the damaged record like any pull: a repair that dies leaves it as it was, or whole. What none has goes
by its name only, into quarantine; as long as that is so new, nothing is taken for an orphan.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.contract import PullRequest
from caskeeper.coordination.events import HEALED, WITHDRAWN, origin
from caskeeper.errors import Cancelled, CaskeeperError, ConfigInvalid, LeaseLost
from worker.services.eviction import Evictor
from worker.services.findings import KIND, UNREADABLE
from worker.services.quarantined import drop_excess
from worker.services.subjects import subjects_of
from worker.store.quarantine import RECORD, Quarantine
from worker.store.trash import ref_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caskeeper.artifact import Ref
    from worker.protocols import Context
    from worker.services.findings import Findings, Found
    from worker.services.healing import Healing
    from worker.services.maintenance import Maintenance, Run
    from worker.services.pull import Pull

_UNREAD = "its record could not be read"


class Unreadable:
    """What one repair does with such refs. ``unknown``: those that went, with content nobody can name."""

    def __init__(
        self,
        maintenance: Maintenance,
        healing: Healing,
        pull: Pull,
        *,
        findings: Findings,
        context: Context,
    ) -> None:
        self._maintenance, self._healing, self._pull = maintenance, healing, pull
        self._findings, self._context = findings, context
        self._events = maintenance.coordination.events
        self._quarantine = Quarantine(maintenance.volume)
        self.unknown: list[Ref] = []

    def run(self, each: Callable[[Iterable[Found], Callable[[Run, Found], None]], None]) -> None:
        """All of them. ``each`` does something for each under the lease."""
        unread = list(self._findings.of(UNREADABLE))
        moved = [found for found in self._findings.of(KIND) if found.ref is not None and found.done]
        for found in (*unread, *moved):
            self._context.check()
            self.ask(found)
        each([found for found in unread if not found.done], self.set_aside)
        for found in moved:
            if not os.path.lexists(found.where):
                self.lost(found, f"something else stood in its place and was {found.done}")

    def ask(self, found: Found) -> None:
        """Pull it by its name; called without a lease. A remote's trouble is told, and not raised."""
        ref = found.ref
        if ref is None or not self._is_unreadable(ref, at_all=found.kind != KIND):
            return
        request = PullRequest(ref=str(ref), refresh=True)
        try:
            result = self._healing.around(
                lambda: self._pull(request, self._context), subjects_of(request), self._context
            )
        except (Cancelled, LeaseLost):
            raise
        except ConfigInvalid:
            return  # the project has no remote
        except CaskeeperError as trouble:
            if trouble.where != self._path(ref):  # that one only says that it is still damaged
                found.refused = f"it could not be fetched ({trouble.what})"
            return
        if result.pulled:
            source = origin(result.remote or "")
            found.done = "; ".join(filter(None, (found.done, f"fetched anew from {source}")))
            self._events.note(HEALED, [str(ref)], why=f"{_UNREAD}: bound again to what {source} has")

    def set_aside(self, run: Run, found: Found) -> None:
        """Only the name goes; condemned, for a writer that holds it counts on what it replaces (I5).

        Neither a pin nor a session holds it: it names nothing that they could keep.
        """
        ref = found.ref
        try:
            if ref is None or not self._is_unreadable(ref):
                return
            maintenance, names = self._maintenance.coordination.maintenance, [str(ref)]
            if maintenance.condemn(run.holder, run.epoch, roots=[], refs=names, keys=[]):
                return
            evictor = Evictor(run.trash, self._maintenance.refs, horizon_ns=run.horizon_ns)
            try:
                gone, freed = evictor.take_refs([(ref, None)], keep=self._keep)
            finally:
                maintenance.uncondemn(run.holder, run.epoch, roots=[], refs=names, keys=[])
        except LeaseLost:
            raise
        except CaskeeperError as trouble:  # the disk does not even give it to be read
            self._findings.remark(f"not set aside: {trouble}")
            return
        maintenance.give_back(run.holder, run.epoch, freed)
        if gone:
            self.lost(found, _UNREAD, by=run.holder)
            drop_excess(run, self._maintenance)

    def lost(self, found: Found, what: str, *, by: str = "") -> None:
        """The name is gone, and so is who knew what belongs to it."""
        assert found.ref is not None
        self.unknown.append(found.ref)
        reason = found.refused or "no remote has it"
        found.withdrawn, found.done = (str(found.ref),), found.done or reason
        self._events.note(WITHDRAWN, [str(found.ref)], why=f"{what}, and {reason}", by=by)

    def _keep(self, taken: str, ref: Ref) -> bool:
        return self._quarantine.keep(taken, f"{RECORD}{ref_name(ref)}")

    def _is_unreadable(self, ref: Ref, *, at_all: bool = True) -> bool:
        """``at_all``: something must stand in its place."""
        path = self._path(ref)
        try:
            return self._maintenance.refs.record_at(path) is None and (not at_all or os.path.lexists(path))
        except LeaseLost:
            raise
        except CaskeeperError:
            return False

    def _path(self, ref: Ref) -> str:
        return self._maintenance.volume.layout.ref(ref)
