"""Cleanup: plan, then execute group by group (AC-43 to AC-45, D-1 to D-5; safety.md section 5)."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from caskeeper.config.sizes import pretty_size
from caskeeper.contract import CleanupResult, Progress
from caskeeper.coordination.events import EVICTED
from caskeeper.errors import Busy, CacheTooFull, CaskeeperError, NoSpace
from worker.services.batches import UnderWay, events_of, instead, names_of, next_batch, told_of
from worker.services.eviction import Evictor, take_content, take_names
from worker.services.fullness import explain, find_holders, is_for_good
from worker.services.plan import EVICT, KEPT, PROTECTED, judge, take_inventory
from worker.services.quarantined import make_way
from worker.services.quarantined import plan as plan_quarantined
from worker.services.sharing import Sharing
from worker.services.sweep import sweep
from worker.services.uploaded import evict_uploaded, find_uploaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from caskeeper.contract import CleanupHolder, CleanupRequest
    from caskeeper.coordination.events import Event
    from worker.protocols import Context
    from worker.services.eviction import Evicted
    from worker.services.maintenance import Maintenance, Run
    from worker.services.plan import Inventory, Planned
    from worker.services.recount import Recount
    from worker.services.space import Space
    from worker.store.companion.owner import Companion

#: A second process is started for as many blocks as are to go: no more objects than these have them.
WORTH_BLOCKS = 2048


class Cleanup:
    """The verb ``cache.cleanup``, and what a write that does not fit calls on its own."""

    def __init__(
        self,
        maintenance: Maintenance,
        space: Space,
        recount: Recount,
        *,
        companion: Companion | None = None,
    ) -> None:
        """``companion``: a second process for many objects."""
        self._maintenance = maintenance
        self._companion = companion
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
        with self._maintenance.run("cleanup", wait_s=wait_s, check=context.check) as run, ExitStack() as rest:
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
            evictor = Evictor(run.trash, self._maintenance.refs, horizon_ns=run.horizon_ns)
            sharing = rest.enter_context(Sharing(evictor))
            if not dry_run and before - target >= WORTH_BLOCKS * self._maintenance.volume.block_bytes:
                sharing.begin(self._companion)  # it gets ready while this one plans
            inventory = self._inventory(run)
            sharing.still_free = inventory.still_free
            uploaded = find_uploaded(self._maintenance.volume, inventory, horizon_ns=run.horizon_ns)
            judge(
                inventory,
                used_bytes=before - freed - uploaded.frees_bytes - sum(one.frees_bytes for one in damaged),
                target_bytes=target,
                required=self._maintenance.coordination.sessions.requirers(),
                pins=pins,
                inodes=self._space.inodes_lacking(inodes) - uploaded.objects,
            )
            gone = 0
            maintenance = self._maintenance.coordination.maintenance
            if not dry_run:
                freed += evict_uploaded(
                    evictor,
                    uploaded,
                    give_back=lambda freed_bytes: maintenance.give_back(run.holder, run.epoch, freed_bytes),
                    check=run.check,
                )
                goal = target, inodes
                group_freed, gone = self._execute(
                    run, evictor, inventory, goal, context=context, why=why, sharing=sharing
                )
                freed += group_freed
                evictor.kept_young_bytes = 0
                if self._lacking(target, inodes) is not None:
                    freed += self._sweep(run, evictor, inventory)
                self._maintenance.coordination.stats.evicted(0, freed - group_freed)
            holders: tuple[CleanupHolder, ...] = ()
            if dry_run or self._lacking(target, inodes) is not None:
                holders = find_holders(
                    inventory,
                    oldest=run.oldest,
                    kept_young=evictor.kept_young + uploaded.young,
                    coordination=self._maintenance.coordination,
                    pins=pins,
                )
            told = list(told_of(inventory.groups))
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
                    *(group.as_message() for group in told),
                ),
                more_kept=len(inventory.groups) - len(told),
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
            scores=scores,
            horizon_ns=run.horizon_ns,
        )

    def _execute(
        self,
        run: Run,
        evictor: Evictor,
        inventory: Inventory,
        goal: tuple[int, int],
        *,
        context: Context,
        why: str,
        sharing: Sharing,
    ) -> tuple[int, int]:
        chosen = [group for group in inventory.groups if group.action == EVICT]
        freed, gone, number = 0, 0, 0
        before: UnderWay | None = None  # the companion may still be at it
        while number < len(chosen) or before:
            lacking = self._lacking(*goal)
            ahead = before.frees_bytes if before else 0
            if before and (number == len(chosen) or (lacking or 0) <= 2 * ahead):
                batch_freed, refs = self._give_back(run, before, sharing)
                freed, gone, before = freed + batch_freed, gone + len(refs), None
                continue
            group = chosen[number]
            if group.entries and lacking is None:
                group.action, group.reason, group.frees_bytes = KEPT, "the target was reached before", 0
                inventory.keep(group)  # others may write meanwhile, and then a later one goes after all
                number += 1
                continue
            context.progress(
                Progress(phase="cleanup", done_objects=number, total_objects=len(chosen), done_bytes=freed)
            )
            batch = next_batch(chosen, number, (lacking or 0) - ahead)
            number += len(batch)
            try:
                context.check()
                under_way = self._evict(run, evictor, inventory, batch, why=why, sharing=sharing)
            except Exception:
                if before:  # what it gives is known, or nearly
                    with suppress(CaskeeperError):
                        self._give_back(run, before, sharing)
                raise
            if before:
                batch_freed, refs = self._give_back(run, before, sharing)
                freed, gone = freed + batch_freed, gone + len(refs)
            before = under_way
        for group in instead(chosen, inventory.groups, reached=lambda: self._lacking(*goal) is None):
            context.check()
            group.reason = "least recently used of what nobody works with"
            group_freed, refs = self.evict_groups(run, evictor, inventory, [group], why=why)
            freed += group_freed
            gone += len(refs)
        return freed, gone

    def _lacking(self, target_bytes: int, inodes: int) -> int | None:
        """How many bytes are still to go; 0: only inodes are lacking; None: the target is reached."""
        lacking = self._space.used_bytes() - target_bytes
        if lacking > 0:
            return lacking
        return 0 if self._space.inodes_lacking(inodes) else None

    def evict_groups(
        self,
        run: Run,
        evictor: Evictor,
        inventory: Inventory,
        groups: Sequence[Planned],
        *,
        why: str,
        what: str = EVICTED,
    ) -> tuple[int, list[str]]:
        """Condemn, take, give back. (freed bytes, refs that are gone); nothing of what may not go.

        For groups that were settled, in that order. ``what`` becomes of the refs and ``why`` is what the
        event log says. They share their calls of Redis; each of them goes by the steps of one alone.
        """
        alone = Sharing(evictor, still_free=inventory.still_free)
        under_way = self._evict(run, evictor, inventory, groups, why=why, what=what, sharing=alone)
        return self._give_back(run, under_way, alone)

    def _evict(
        self,
        run: Run,
        evictor: Evictor,
        inventory: Inventory,
        groups: Sequence[Planned],
        *,
        why: str,
        what: str = EVICTED,
        sharing: Sharing,
    ) -> UnderWay:
        """All but the last objects and lists, which a companion may be at, and the giving back."""
        run.check()
        maintenance = self._maintenance.coordination.maintenance
        steps = {group.number: inventory.steps(group) for group in groups}
        going = self._condemn(run, groups)
        for group in groups:
            if group.action == PROTECTED:
                inventory.keep(group)
        if not going:
            return UnderWay([], [], lambda: True, 0)
        done = take_names(
            evictor,
            [steps[group.number] for group in going],
            uncondemn=lambda: maintenance.uncondemn(run.holder, run.epoch, **names_of(going)),
            told=lambda results: self._note(
                events_of(zip(going, results, strict=False), run.holder, what=what, why=why)
            ),
        )
        whole: list[tuple[Planned, Evicted]] = []
        for group, result in zip(going, done, strict=True):
            if len(result.refs) == len(group.entries):
                whole.append((group, result))
            else:  # somebody published one of them anew, and the tree is wanted again
                inventory.keep(group)

        def ended(place: int) -> None:
            group, result = whole[place]
            inventory.keep(group) if result.kept_young else inventory.drop(group)

        is_over = take_content(
            evictor,
            [(steps[group.number], result) for group, result in whole],
            ended=ended,
            is_shared=inventory.is_shared,
            sharing=sharing,
            check=run.check,
        )
        return UnderWay(going, done, is_over, sum(group.frees_bytes for group in going), what)

    def _give_back(self, run: Run, under_way: UnderWay, sharing: Sharing) -> tuple[int, list[str]]:
        """When it is over; as ``evict_groups``."""
        if not under_way.groups:
            return 0, []
        sharing.finish(under_way.is_over, check=run.check)
        for group, result in zip(under_way.groups, under_way.results, strict=True):
            group.frees_bytes = result.freed_bytes
        freed = sum(result.freed_bytes for result in under_way.results)
        gone = [str(ref) for result in under_way.results for ref in result.refs]
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
        if under_way.what == EVICTED:
            self._maintenance.coordination.stats.evicted(len(gone), freed)
        return freed, gone

    def _condemn(self, run: Run, groups: Sequence[Planned]) -> list[Planned]:
        """Those that may go, and are condemned. All at once, or if that is refused, one by one."""
        maintenance = self._maintenance.coordination.maintenance
        reason = maintenance.condemn(run.holder, run.epoch, **names_of(groups))
        if not reason:
            return list(groups)
        if len(groups) > 1:
            return [group for one in groups for group in self._condemn(run, [one])]
        groups[0].action, groups[0].reason, groups[0].frees_bytes = PROTECTED, reason, 0
        return []

    def _note(self, events: Sequence[Event]) -> None:
        if events:
            self._maintenance.coordination.events.note_all(events)

    def _sweep(self, run: Run, evictor: Evictor, inventory: Inventory) -> int:
        """Still above the target: look for what nothing refers to, the leavings of crashed operations."""
        layout = self._maintenance.volume.layout
        freed = 0
        for folder in (layout.objects, layout.executables):
            if os.path.isdir(folder):
                freed += sweep(evictor, folder, needed=inventory.needed(), check=run.check)
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
        return freed
