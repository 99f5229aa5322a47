"""Cleanup: plan, then execute group by group (AC-43 to AC-45, D-1 to D-5; safety.md section 5)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.config.sizes import pretty_size
from caskeeper.contract import CleanupResult, Progress
from caskeeper.coordination.events import EVICTED, Event
from caskeeper.errors import Busy, CacheTooFull, NoSpace
from worker.services.eviction import Evictor, evict
from worker.services.fullness import explain, find_holders, is_for_good
from worker.services.plan import EVICT, KEPT, PROTECTED, judge, take_inventory
from worker.services.quarantined import make_way
from worker.services.quarantined import plan as plan_quarantined
from worker.services.sweep import sweep
from worker.services.uploaded import evict_uploaded, find_uploaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.contract import CleanupHolder, CleanupRequest
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance, Run
    from worker.services.plan import Inventory, Planned
    from worker.services.recount import Recount
    from worker.services.space import Space


class Cleanup:
    """The verb ``cache.cleanup``, and what a write that does not fit calls on its own."""

    def __init__(self, maintenance: Maintenance, space: Space, recount: Recount) -> None:
        self._maintenance = maintenance
        self._space = space
        self._recount = recount

    def __call__(self, request: CleanupRequest, context: Context) -> CleanupResult:
        """Evict down to the target.

        Raises CacheTooFull with the numbers when what is left is required and above the quota (AC-44),
        NoSpace when it is above it and may go later, Busy while another holds the lease or the waiting
        period runs.
        """
        if request.if_wanted:
            # An idle fleet has nobody else who notices that Redis has lost its state.
            self._maintenance.ensure_ready()
            now = self._space.now()
            if not self._space.why_cleanup(now):
                return CleanupResult(
                    dry_run=request.dry_run,
                    used_before_bytes=now.usage.used_bytes,
                    used_after_bytes=now.usage.used_bytes,
                    target_bytes=now.limits.low_bytes,
                )
        target = request.target_bytes
        why = "" if target is None else f"a cleanup down to {pretty_size(target)} was asked for"
        result = self.clean(target_bytes=target, dry_run=request.dry_run, context=context, why=why)
        limits, usage, _disk = self._space.now()
        if not request.dry_run and usage.used_bytes + usage.reserved_bytes > limits.quota_bytes:
            raise self.too_full(result)
        return result

    def clean(
        self,
        *,
        target_bytes: int | None,
        dry_run: bool,
        context: Context,
        wait_s: float = 120.0,
        why: str = "",
    ) -> CleanupResult:
        """One run. ``target_bytes`` None = the low watermark, less what the disk itself misses.

        ``why`` it runs is told by the event log; "" = the watermark that is passed.
        """
        with self._maintenance.run("cleanup", wait_s=wait_s, check=context.check) as run:
            try:
                self.know_the_size(run)
            except Busy:
                if not dry_run:  # who only asks what would go is answered while nothing may
                    raise
            why = why or self._space.why_cleanup() or "a cleanup was asked for"
            before = self._space.used_bytes()
            target = self._space.limits().low_bytes if target_bytes is None else target_bytes
            target = max(0, min(target, before - self._space.disk_deficit()))
            inodes = self._space.inodes_goal()
            pins = self._maintenance.pins.read()  # they change only under the lease
            needs_room = before > target or self._space.inodes_lacking(inodes) > 0
            freed = 0 if dry_run else make_way(run, self._maintenance, needs_room=needs_room)
            damaged = plan_quarantined(self._maintenance) if dry_run and needs_room else []
            inventory = self._inventory(run)
            uploaded = find_uploaded(self._maintenance.volume, inventory, horizon_ns=run.horizon_ns)
            judge(
                inventory,
                used_bytes=before - freed - uploaded.frees_bytes - sum(one.frees_bytes for one in damaged),
                target_bytes=target,
                required=self._maintenance.coordination.sessions.requirers(),
                pins=pins,
                block_bytes=self._maintenance.volume.block_bytes,
                inodes=self._space.inodes_lacking(inodes) - uploaded.objects,
            )

            def reached() -> bool:
                return self._space.used_bytes() <= target and not self._space.inodes_lacking(inodes)

            gone = 0
            maintenance = self._maintenance.coordination.maintenance
            evictor = Evictor(run.trash, self._maintenance.refs, horizon_ns=run.horizon_ns)
            if not dry_run:
                freed += evict_uploaded(
                    evictor,
                    uploaded,
                    give_back=lambda freed_bytes: maintenance.give_back(run.holder, run.epoch, freed_bytes),
                    check=run.check,
                )
                group_freed, gone = self._execute(
                    run, evictor, inventory, reached=reached, context=context, why=why
                )
                freed += group_freed
                evictor.kept_young_bytes = 0
                if not reached():
                    freed += self._sweep(run, evictor, inventory)
            holders: tuple[CleanupHolder, ...] = ()
            if dry_run or not reached():
                holders = find_holders(
                    inventory,
                    oldest=run.oldest,
                    kept_young=evictor.kept_young + uploaded.young,
                    coordination=self._maintenance.coordination,
                    pins=pins,
                )
            return CleanupResult(
                dry_run=dry_run,
                used_before_bytes=before,
                used_after_bytes=self._space.used_bytes(),
                target_bytes=target,
                freed_bytes=freed,
                evicted_refs=gone,
                recovered_objects=run.recovered,
                reaped_operations=run.reaped,
                young_objects=evictor.kept_young,
                young_bytes=evictor.kept_young_bytes,
                groups=(
                    *damaged,
                    *uploaded.as_messages(),
                    *(group.as_message() for group in inventory.groups),
                ),
                holders=holders,
            )

    def too_full(
        self,
        result: CleanupResult | None,
        *,
        size_bytes: int = 0,
        written_bytes: int = 0,
        for_good: bool | None = None,
    ) -> CacheTooFull | NoSpace:
        """What to raise with the numbers, when a cleanup ended with ``result``; None: none could run.

        ``size_bytes`` were to be written on top of the ``written_bytes`` that the same operation has used
        already. CacheTooFull when waiting cannot help; ``for_good`` says so where that is known.
        """
        now = self._space.now()
        what, ways = explain(
            now,
            result,
            operations=self._maintenance.coordination.operations.list(),
            config_file=self._space.config_file,
            capacity_bytes=self._space.capacity_bytes(),
            size_bytes=size_bytes,
        )
        if size_bytes:
            what = f"{pretty_size(size_bytes)} more do not fit: {what}"
        if for_good is None:
            for_good = result is not None and is_for_good(
                result,
                quota_bytes=now.limits.quota_bytes,
                short_bytes=now.usage.used_bytes + size_bytes - now.limits.quota_bytes,
                own_bytes=written_bytes,
            )
        if for_good:
            return CacheTooFull(what, self._space.place, ", or ".join(ways))
        ways.append("try again when those who work on the cache are done")
        return NoSpace(what, self._space.place, ", or ".join(ways))

    def know_the_size(self, run: Run) -> None:
        """A recount under the lease we hold, when the estimate is unknown or was converted upwards.

        Raises Busy during the waiting period after a loss of Redis.
        """
        self._maintenance.refuse_while_waiting(run)
        if self._space.recount_wanted():
            self._maintenance.spare_nobody(run)
            self._recount.within(run)

    def _inventory(self, run: Run) -> Inventory:
        parts = self._maintenance

        def scores(refs: Sequence[Ref]) -> list[int | None]:
            return list(parts.coordination.recency.scores([str(ref) for ref in refs]))

        return take_inventory(
            parts.refs,
            parts.closures,
            parts.objects,
            charge=parts.volume.charge,
            scores=scores,
            horizon_ns=run.horizon_ns,
        )

    def _execute(
        self,
        run: Run,
        evictor: Evictor,
        inventory: Inventory,
        *,
        reached: Callable[[], bool],
        context: Context,
        why: str,
    ) -> tuple[int, int]:
        chosen = [group for group in inventory.groups if group.action == EVICT]
        freed, gone = 0, 0
        for number, group in enumerate(chosen):
            if group.entries and reached():
                group.action, group.reason, group.frees_bytes = KEPT, "the target was reached before", 0
                continue
            context.check()
            context.progress(
                Progress(phase="cleanup", done_objects=number, total_objects=len(chosen), done_bytes=freed)
            )
            group_freed, refs = self.evict_group(run, evictor, inventory, group, why=f"{why}; {group.reason}")
            freed += group_freed
            gone += len(refs)
        for group in self._instead(chosen, inventory, reached=reached):
            context.check()
            group.reason = "least recently used of what nobody works with"
            group_freed, refs = self.evict_group(run, evictor, inventory, group, why=f"{why}; {group.reason}")
            freed += group_freed
            gone += len(refs)
        return freed, gone

    def _instead(
        self, chosen: Sequence[Planned], inventory: Inventory, *, reached: Callable[[], bool]
    ) -> Iterator[Planned]:
        """The next groups, as long as the target is not reached for want of one that somebody works with."""
        if any(group.action == PROTECTED for group in chosen):
            for group in inventory.groups:
                if group.action == KEPT and not group.young:
                    if reached():
                        return
                    group.action = EVICT
                    yield group

    def evict_group(
        self,
        run: Run,
        evictor: Evictor,
        inventory: Inventory,
        group: Planned,
        *,
        why: str,
        what: str = EVICTED,
    ) -> tuple[int, list[str]]:
        """Condemn, take, give back. (freed bytes, refs that are gone); nothing when it may not go.

        ``what`` becomes of the refs and ``why`` is what the event log says.
        """
        run.check()
        maintenance = self._maintenance.coordination.maintenance
        names = {"roots": list(group.roots), "refs": group.names, "keys": group.keys}
        reason = maintenance.condemn(run.holder, run.epoch, **names)
        if reason:
            group.action, group.reason, group.frees_bytes = PROTECTED, reason, 0
            return 0, []
        uncondemn: Callable[[], None] = lambda: maintenance.uncondemn(run.holder, run.epoch, **names)  # noqa: E731 -- one call, twice named
        steps = inventory.as_group(group)
        frees_bytes = inventory.frees_bytes(group, block_bytes=self._maintenance.volume.block_bytes)
        done = evict(
            evictor,
            steps,
            uncondemn=uncondemn,
            check=run.check,
            told=lambda refs: self._note(run, group, refs, what=what, why=why, frees_bytes=frees_bytes),
        )
        maintenance.give_back(run.holder, run.epoch, done.freed_bytes)
        group.frees_bytes = done.freed_bytes
        if len(done.refs) == len(group.entries) and not done.kept_young:
            inventory.drop(group)
        return done.freed_bytes, [str(ref) for ref in done.refs]

    def _note(
        self, run: Run, group: Planned, refs: Sequence[Ref], *, what: str, why: str, frees_bytes: int
    ) -> None:
        """Refs of a group are gone. ``frees_bytes``: what follows when all of them are."""
        gone = [entry for entry in group.entries if entry.ref in set(refs)]
        self._maintenance.coordination.events.note_all(
            [
                Event(
                    what,
                    str(entry.ref),
                    why,
                    run.holder,
                    before=entry.record.roots_text if entry.record else "",
                    freed_bytes=frees_bytes if len(gone) == len(group.entries) else 0,
                    used_ms=group.used_ms,
                )
                for entry in gone
            ]
        )

    def _sweep(self, run: Run, evictor: Evictor, inventory: Inventory) -> int:
        """Still above the target: look for what nothing refers to, the leavings of crashed operations."""
        layout = self._maintenance.volume.layout
        freed = 0
        for folder in (layout.objects, layout.executables):
            if os.path.isdir(folder):
                freed += sweep(evictor, folder, needed=inventory.needed(), check=run.check)
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
        return freed
