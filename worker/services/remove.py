"""Remove: forget refs, and free what nothing else needs (AC-50 to AC-52, D-1, D-8, D-32)."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import RemoveResult
from caskeeper.coordination.events import REFUSED, REMOVED
from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    Busy,
    DigestMismatch,
    InvalidRequest,
    PermissionDenied,
    VolumeFailed,
)
from worker.services.eviction import Evictor
from worker.services.pins import pinned_by
from worker.services.plan import PROTECTED, Planned, unranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from caskeeper.contract import RemoveRequest
    from worker.protocols import Context
    from worker.services.cleanup import Cleanup
    from worker.services.maintenance import Maintenance, Run
    from worker.services.plan import Inventory
    from worker.store.refs import RefRecord


class Remove:
    """The verb ``artifacts.remove``. It obeys sessions, pins and claims like any eviction (safety.md
    section 4).
    """  # noqa: D205 -- one sentence

    def __init__(self, maintenance: Maintenance, cleanup: Cleanup) -> None:
        self._maintenance = maintenance
        self._cleanup = cleanup
        self._events = maintenance.coordination.events

    def __call__(self, request: RemoveRequest, context: Context) -> RemoveResult:
        """Remove every ref, or say which cannot go. Content an operation may still use is freed later.

        Raises ArtifactNotFound when one of the refs is not here and PermissionDenied when one is pinned
        (nothing is removed then), Busy when one is required or in use.
        """
        wanted = [Ref.parse(text, where="refs") for text in dict.fromkeys(request.refs)]
        with self._maintenance.run("remove", check=context.check) as run:
            records = {ref: self._look(ref) for ref in wanted}
            with self._noting_refusal(run, wanted):
                return self._remove(run, records)

    @contextmanager
    def _noting_refusal(self, run: Run, wanted: Sequence[Ref]) -> Iterator[None]:
        try:
            yield
        except (PermissionDenied, Busy) as held:
            names = [str(ref) for ref in wanted]
            self._events.note(REFUSED, names, why=f"{held.what} [{held.where}]", by=run.holder)
            raise

    def _remove(self, run: Run, records: Mapping[Ref, RefRecord | None]) -> RemoveResult:
        self._refuse_pinned(records)
        freed, gone = self._drop_damaged(
            run, [(ref, record) for ref, record in records.items() if not self._is_readable(record)]
        )
        inventory = unranked(self._maintenance, horizon_ns=run.horizon_ns)
        leaving = {
            number: [entry.ref for entry in group.entries if entry.ref in records]
            for number, group in enumerate(inventory.groups)
        }
        for number, group in enumerate(inventory.groups):
            self._refuse_held(run, group, leaving[number])
        going = [group for number, group in enumerate(inventory.groups) if _is_whole(group, leaving[number])]
        inventory.settle(going)
        for number, group in enumerate(inventory.groups):
            if leaving[number]:
                more, names = self._remove_from(run, inventory, group, leaving[number])
                freed += more
                gone += names
        return RemoveResult(freed_bytes=freed, removed=tuple(gone))

    def _look(self, ref: Ref) -> RefRecord | None:
        try:
            record = self._maintenance.refs.read(ref)
        except VolumeFailed:
            return None
        if record is None:
            raise ArtifactNotFound(
                "there is no such ref", f"ref {ref}", "`caskeeper list` shows what is here"
            )
        return record

    def _refuse_held(self, run: Run, group: Planned, refs: list[Ref]) -> None:
        """One that is required or in use stops all of them before the first is gone."""
        if refs:
            roots = list(group.roots) if len(refs) == len(group.entries) else []
            self._condemn(run, roots=roots, refs=refs)
            self._uncondemn(run, roots=roots, refs=refs)

    def _refuse_pinned(self, records: Mapping[Ref, RefRecord | None]) -> None:
        pins = self._maintenance.pins.read()
        for ref, record in records.items():
            reason = pinned_by(pins, ref)
            if reason and record is None:
                way_out = "`caskeeper verify --repair` fetches it anew, or drops it"
                raise PermissionDenied(
                    f"it is {reason}, and its record cannot be read", f"ref {ref}", way_out
                )
            if reason:
                raise PermissionDenied(
                    f"it is {reason}", f"ref {ref}", f"`caskeeper unpin '{pins.holder(ref)}'` first"
                )

    def _is_readable(self, record: RefRecord | None) -> bool:
        if record is None:
            return False
        try:
            for root in record.roots:
                self._maintenance.closures.obtain(root, record.scope, self._maintenance.objects)
        except (BlobMissing, DigestMismatch, InvalidRequest):
            return False
        return True

    def _drop_damaged(self, run: Run, judged: list[tuple[Ref, RefRecord | None]]) -> tuple[int, list[str]]:
        """What hangs on an unreadable record is unknown: only the name goes, the rest is found as garbage."""
        refs = [ref for ref, _record in judged]
        if not refs:
            return 0, []
        self._condemn(run, roots=[], refs=refs)
        try:
            gone, freed = self._evictor(run).take_refs(judged)
        finally:
            self._uncondemn(run, roots=[], refs=refs)
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
        self._note(run, gone, why="it was asked for, and what the ref named could not be read")
        return freed, [str(ref) for ref in gone]

    def _note(self, run: Run, gone: Sequence[Ref], *, why: str) -> None:
        self._events.note(REMOVED, [str(ref) for ref in gone], why=why, by=run.holder)

    def _remove_from(
        self, run: Run, inventory: Inventory, group: Planned, leaving: list[Ref]
    ) -> tuple[int, list[str]]:
        if _is_whole(group, leaving):
            freed, gone = self._cleanup.evict_groups(
                run, self._evictor(run), inventory, [group], why="it was asked for", what=REMOVED
            )
            if group.action == PROTECTED:
                raise Busy(f"it cannot be removed: {group.reason}", f"ref {leaving[0]}")
            return freed, gone
        return self._remove_names(run, group, leaving)

    def _remove_names(self, run: Run, group: Planned, leaving: list[Ref]) -> tuple[int, list[str]]:
        """Other refs keep the tree: only the names go, and the extracts of elements that have none left."""
        self._condemn(run, roots=[], refs=leaving)
        evictor = self._evictor(run)
        try:
            judged = [(entry.ref, entry.record) for entry in group.entries if entry.ref in leaving]
            gone, freed = evictor.take_refs(judged)
            layout = self._maintenance.volume.layout
            freed += evictor.remove_extracts(
                layout.extract(ref, root) for ref in gone for root in group.roots
            )
        finally:
            self._uncondemn(run, roots=[], refs=leaving)
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
        self._note(run, gone, why="it was asked for; other refs keep the tree")
        return freed, [str(ref) for ref in gone]

    def _evictor(self, run: Run) -> Evictor:
        return Evictor(run.trash, self._maintenance.refs, horizon_ns=run.horizon_ns)

    def _condemn(self, run: Run, *, roots: list[str], refs: list[Ref]) -> None:
        reason = self._maintenance.coordination.maintenance.condemn(
            run.holder,
            run.epoch,
            roots=roots,
            refs=[str(ref) for ref in refs],
            keys=sorted({ref.key for ref in refs}),
        )
        if reason:
            raise Busy(f"it cannot be removed: {reason}", f"ref {refs[0]}", self._way_out(refs))

    def _way_out(self, refs: list[Ref]) -> str:
        """Of all sessions that require one of them; '' = waiting helps."""
        requirers = self._maintenance.coordination.sessions.requirers()
        sessions = sorted({one.id for ref in refs for one in requirers.get(ref.key, ())})
        if not sessions:
            return ""
        closing = " and ".join(f"`caskeeper session close {shlex.quote(one)}`" for one in sessions)
        return f"wait for the build that holds it to end; if none does any more, {closing}"

    def _uncondemn(self, run: Run, *, roots: list[str], refs: list[Ref]) -> None:
        self._maintenance.coordination.maintenance.uncondemn(
            run.holder,
            run.epoch,
            roots=roots,
            refs=[str(ref) for ref in refs],
            keys=sorted({ref.key for ref in refs}),
        )


def _is_whole(group: Planned, leaving: Sequence[Ref]) -> bool:
    """Whether all refs of the group leave, and so the tree."""
    return bool(leaving) and len(leaving) == len(group.entries)
