"""Everything that removes or recounts begins here (safety.md section 5, steps 1 to 4).

One lease for all of it. A run takes the lease, makes its trash folder, puts back what an earlier cleanup
left half-way, fences operations that are dead, and only then knows the horizon: what is younger may be in
use and stays.
"""

from __future__ import annotations

import math
import os
import stat
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, CoordinatorUnavailable, LeaseLost, NoSpace, PermissionDenied
from worker.services.one_coordinator import take_up
from worker.services.recovery import recover
from worker.store.failures import failure
from worker.store.format import BALLAST_BYTES, drop_ballast, make_ballast
from worker.store.measure import used_bytes
from worker.store.promises import PREFIX, Promises
from worker.store.staging import stated_reserved
from worker.store.trash import Trash, delete_tree
from worker.store.whole import RefsFolder, refuse_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.artifact import Ref
    from caskeeper.coordination import Coordination
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.pins import Pins
    from worker.store.refs import Refs
    from worker.store.volume import Volume

#: How long a run waits for the lease when its caller did not say.
WAIT_S = 120.0
#: How long an operation may take from its folder to its record before a recount fences it.
REGISTER_S = 2.0
#: What the owner of a folder needs to look into it.
_LOOK = stat.S_IRUSR | stat.S_IXUSR


@dataclass
class Run:
    """One holder of the maintenance lease."""

    holder: str
    epoch: str
    trash: Trash
    begins: bool = False  # its epoch: the state was lost
    horizon_ns: int = 0
    recovered: int = 0
    reaped: int = 0
    oldest: str = ""  # the operation, or the promise, whose start the horizon is; "": this run
    gave_ballast: bool = False
    lost: str = ""
    spares: bool = False  # in the waiting period after a loss: nothing was reaped, so nothing may be counted

    def check(self) -> None:
        """Raises LeaseLost when somebody else took over."""
        if self.lost:
            raise LeaseLost(self.lost, f"cleanup {self.holder}")


class Maintenance:
    """The way to the lease for cleanup, remove, recount and recovery."""

    def __init__(
        self,
        *,
        volume: Volume,
        refs: Refs,
        closures: Closures,
        objects: Objects,
        pins: Pins,
        coordination: Coordination,
        may_come_back: Callable[[Ref], bool] = lambda _ref: False,
    ) -> None:
        """``may_come_back``: whether some remote may have what a ref needs."""
        self.may_come_back = may_come_back
        self.volume = volume
        self.refs = refs
        self.closures = closures
        self.objects = objects
        self.pins = pins
        self.coordination = coordination
        self.leases = coordination.leases
        self._refs_folder = RefsFolder(volume.layout)

    @contextmanager
    def run(
        self, purpose: str, *, wait_s: float = WAIT_S, spare_young: bool = True, check: Callable[[], None]
    ) -> Iterator[Run]:
        """Hold the lease, with everything of safety.md section 5 up to the horizon done.

        ``spare_young=False`` fences also folders of operations that have not registered yet, for a
        recount. Raises Busy when another holder keeps the lease for ``wait_s``, LeaseLost, and VolumeFailed
        when a folder that every volume has is a link or not there: then nothing goes (I9).
        """
        run = self._acquire(purpose, wait_s=wait_s, check=check)
        stop = threading.Event()
        renewer = threading.Thread(
            target=self._renew, args=(run, stop), name=f"maintenance-{purpose}", daemon=True
        )
        try:
            renewer.start()
        except BaseException:
            # There may be no room for one more thread: nobody would give the lease back before its end.
            stop.set()
            self.coordination.maintenance.release(run.holder)
            raise
        try:
            refuse_broken(self.volume.layout)
            self._refs_folder.refuse_another()
            self._begin_trash(run)
            try:
                self._begin(run, spare_young=spare_young)
            except PermissionDenied:
                if not self._opened_up():
                    raise
                self._begin(run, spare_young=spare_young)
            yield run
            run.check()
            self._take_ballast_back(run)
        except (LeaseLost, CoordinatorUnavailable):
            raise
        except Exception as trouble:
            # Whoever was overtaken meets what the other one did meanwhile: no damage, a lost lease.
            self._tell_overtaken(run, trouble)
            raise
        finally:
            stop.set()
            renewer.join()
            try:
                # Only an emptied folder goes: what is still in it belongs to the next cleanup's recovery.
                run.trash.end()
            finally:
                self.coordination.maintenance.release(run.holder)

    def _opened_up(self) -> bool:
        """Whether a folder of an operation or a cleanup could not be looked into, and now can.

        They are ours, and somebody closed them: what is in them must be known, or no recovery ever ends.
        """
        layout = self.volume.layout
        return sum(self._open_up(top, is_top=True) for top in (layout.staging, layout.trashes)) > 0

    def _open_up(self, folder: str, *, is_top: bool = False) -> int:
        try:
            mode = os.lstat(folder).st_mode
            closed = not is_top and mode & _LOOK != _LOOK  # a checkout that nobody may write to is none
            if closed:
                self.volume.chmod(folder, stat.S_IMODE(mode) | stat.S_IRWXU)
            with os.scandir(folder) as listing:
                inside = [entry.path for entry in listing if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise failure(error, folder) from error
        return closed + sum(map(self._open_up, inside))

    def _tell_overtaken(self, run: Run, trouble: Exception) -> None:
        """Raises LeaseLost from ``trouble`` when another one has the lease, StateLost in another epoch."""
        try:
            self.coordination.maintenance.renew(run.holder, run.epoch)
        except CoordinatorUnavailable:
            return
        except (LeaseLost, StateLost) as lost:
            raise lost from trouble

    def _begin_trash(self, run: Run) -> None:
        """A disk that is full to the brim has no room for a folder either: the ballast is for that."""
        disk = self.volume.space()
        if disk.available_bytes < BALLAST_BYTES or (disk.inodes_total and not disk.inodes_free):
            run.gave_ballast = drop_ballast(self.volume)
        try:
            run.trash.begin()
        except NoSpace:  # of this user only, or somebody was faster
            if not drop_ballast(self.volume):
                raise
            run.gave_ballast = True
            run.trash.begin()

    def _take_ballast_back(self, run: Run) -> None:
        with suppress(NoSpace):  # the next start tries again
            if run.gave_ballast and self.volume.space().available_bytes >= 2 * BALLAST_BYTES:
                make_ballast(self.volume)

    def _acquire(self, purpose: str, *, wait_s: float, check: Callable[[], None]) -> Run:
        holder = f"{purpose}-{uuid.uuid4().hex}"
        deadline = time.monotonic() + wait_s
        while True:
            check()
            grant = self.coordination.maintenance.acquire(holder, purpose=purpose)
            if grant is not None:
                return Run(holder, grant.epoch, Trash(self.volume, holder), begins=grant.lost)
            if time.monotonic() >= deadline:
                now = self.coordination.maintenance.holder()
                raise Busy(
                    f"a {now.purpose} holds the maintenance lease"
                    if now
                    else "the maintenance lease is taken",
                    "" if now is None else now.holder,
                )
            time.sleep(0.05)

    def _renew(self, run: Run, stop: threading.Event) -> None:
        last = time.monotonic()
        while not stop.wait(self.leases.operation_s / 3):
            try:
                self.coordination.maintenance.renew(run.holder, run.epoch)
                last = time.monotonic()
            except Exception as trouble:  # noqa: BLE001 -- any doubt about the lease ends the run
                if isinstance(trouble, LeaseLost) or time.monotonic() - last > self.leases.operation_s / 2:
                    run.lost = str(trouble)
                    return

    def _begin(self, run: Run, *, spare_young: bool) -> None:
        maintenance = self.coordination.maintenance
        take_up(
            self.volume,
            self.coordination,
            run.epoch,
            begins=run.begins,
            still_mine=lambda: maintenance.renew(run.holder, run.epoch),
        )
        run.recovered, freed = recover(
            run.trash, refs=self.refs, closures=self.closures, objects=self.objects
        )
        if not self.coordination.state().ready:
            # After a loss: a first count and what operations of before may still add to it, so that what is
            # reserved from now on meets figures that are not too low.
            maintenance.expect(
                run.holder,
                run.epoch,
                {name: stated_reserved(self.volume.layout, name) for name in self._folders()},
            )
            maintenance.set_provisional(run.holder, run.epoch, used_bytes(self.volume))
        maintenance.ready(run.holder, run.epoch)
        maintenance.give_back(run.holder, run.epoch, freed)
        self._reap(run, spare_young=spare_young)
        run.trash.clock_went_on()
        run.horizon_ns, run.oldest = self.horizon_at(run.trash.start_ns)

    def _reap(self, run: Run, *, spare_young: bool) -> None:
        """Fence what is dead: mark, move the folder away until it is gone, convert the reservation."""
        maintenance = self.coordination.maintenance
        if self._waiting_after_loss():
            run.spares = True
            return  # operations of the time before may still come back until the waiting period is over
        dying = set(maintenance.mark_dying(run.holder, run.epoch))
        known = self._registered()
        for name in self._folders():
            if name in dying or (name not in known and not self._is_starting(run, name, spare=spare_young)):
                run.check()
                self._fence(run, name)
        for operation_id in sorted(dying):
            maintenance.drop_dead(run.holder, run.epoch, operation_id)
            run.reaped += 1

    def spare_nobody(self, run: Run) -> None:
        """Before a recount in a run that spared young folders without a record (safety.md section 6).

        Whoever registers after the scan goes on from bytes that it did not see.
        """
        self._reap(run, spare_young=False)

    def refuse_while_waiting(self, run: Run) -> None:
        """Raises Busy during the waiting period after a loss of Redis (safety.md section 7).

        Also in a run that began in it: who had not come back by then was neither fenced nor counted.
        """
        state = self.coordination.state()
        if run.spares or state.evict_from_ms > state.now_ms:
            left_s = max(0.0, (state.evict_from_ms - state.now_ms) / 1000)
            raise Busy(
                "Redis lost its state; nothing is evicted or recounted until builds had time to come back "
                f"({left_s:.0f} s)",
                f"cleanup {run.holder}",
                f"try again in {math.ceil(left_s) + 1} s",
            )

    def _registered(self) -> set[str]:
        return {record.id for record in self.coordination.operations.list()}

    def _is_starting(self, run: Run, name: str, *, spare: bool) -> bool:
        """An operation makes its folder before it registers, so a young one without a record may be live.

        With ``spare`` it is left alone. A recount may spare none: it gives a live one the moment that it
        takes to register, and then fences.
        """
        if not self._is_young(run, name):
            return False
        if spare:
            return True
        deadline = time.monotonic() + REGISTER_S
        while time.monotonic() < deadline:
            if name in self._registered() or not os.path.isdir(self.volume.layout.operation(name)):
                return True
            time.sleep(0.02)
        return False

    def _waiting_after_loss(self) -> bool:
        state = self.coordination.state()
        return state.evict_from_ms > state.now_ms

    def _folders(self) -> list[str]:
        try:
            with os.scandir(self.volume.layout.staging) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise failure(error, self.volume.layout.staging) from error

    def _is_young(self, run: Run, name: str) -> bool:
        started = self._started_ns(name)
        return started is None or run.trash.start_ns - started < self.leases.operation_s * 1e9

    def _started_ns(self, name: str) -> int | None:
        """When an operation started: the time of its ``start``, else of its folder; None = it is gone."""
        folder = self.volume.layout.operation(name)
        for path in (f"{folder}/start", folder):
            try:
                return os.stat(path).st_mtime_ns
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(error, path) from error
        return None

    def _fence(self, run: Run, name: str) -> None:
        """Its owner can change nothing from here on; complete when the emptied folder could be removed."""
        taken = run.trash.fresh()
        if self.volume.take(self.volume.layout.operation(name), taken):
            delete_tree(self.volume, taken)

    def horizon_at(self, now_ns: int) -> tuple[int, str]:
        """What was touched since then may be in use, and whose start decides that ('' = the moment itself).

        ``now_ns`` is a time of the volume's own clock that has passed; then whoever is at work began before
        it or touches what it relies on after it. Without a lease it is good for looking.
        """
        starts = [(now_ns, "")]
        promised = Promises(self.volume).heed(now_ns, grace_s=self.leases.upload_grace_s)
        starts += [(promised_ns, PREFIX) for promised_ns in promised]
        for name in self._folders():
            started = self._started_ns(name)
            if started is not None:
                starts.append((started, name))
        horizon_ns, oldest = min(starts)
        return horizon_ns - int(self.leases.clock_margin_s * 1e9), oldest

    def ensure_ready(self) -> None:
        """Bring lost or unready coordination back, or wait until whoever does it is done (section 7).

        Raises Busy when it is not ready in time.
        """
        deadline = time.monotonic() + max(30.0, self.leases.operation_s)
        while True:
            state = self.coordination.state()
            if state.ready and not state.lost:
                return
            try:
                with self.run("recovery", wait_s=0.5, check=lambda: None):
                    return
            except (Busy, LeaseLost):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
