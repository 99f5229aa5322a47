"""The composition root: settings become services, and a folder becomes a volume.

Nothing else picks implementations. ``build`` is called in the process that will work, after a fork.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExplainRequest,
    ExtractRequest,
    ImportRequest,
    LinkRequest,
    PullRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushMessageRequest,
    PushRequest,
    RemotesCheckRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.coordination import Coordination
from caskeeper.errors import Busy, ConfigInvalid, InvalidRequest, NoSpace
from caskeeper.layout import Layout
from worker.errand import errand
from worker.remote import RemotePool
from worker.remote.breaker import Breaker
from worker.remote.turns import Turns
from worker.services.browse import Browse
from worker.services.cleanup import Cleanup
from worker.services.commit import Commit
from worker.services.desk import OperationDesk
from worker.services.diff import Diff
from worker.services.disk_usage import DiskUsageReport
from worker.services.explain import Explain
from worker.services.extract import Extract
from worker.services.healing import Healing
from worker.services.importing import Import
from worker.services.link import Link
from worker.services.listing import Listing
from worker.services.lost_format import find_or_mend_format
from worker.services.maintenance import Maintenance
from worker.services.naming import Naming
from worker.services.one_coordinator import refuse_second, take_up
from worker.services.pins import Pinning
from worker.services.presence import Presence
from worker.services.protected import ProtectedBytes
from worker.services.pull import Pull
from worker.services.push import Push
from worker.services.recount import Recount
from worker.services.relief import relieve
from worker.services.remotes import Remotes
from worker.services.remove import Remove
from worker.services.restoring import Restore
from worker.services.room import Room
from worker.services.space import Space
from worker.services.status import Status
from worker.services.subjects import subjects_of
from worker.services.takeover import take_over_refs
from worker.services.trees import PullTree, PushDirectory, PushMessage
from worker.services.verify import Verify
from worker.store.adoption import adopt, needs_adoption
from worker.store.closures import Closures
from worker.store.failures import failure
from worker.store.fitness import accept
from worker.store.format import (
    BALLAST_BYTES,
    creation_lock,
    discard_staged,
    find_format,
    make_ballast,
    new_format,
    prepare_folders,
    publish_format,
    stage_format,
    staged_formats,
)
from worker.store.measure import used_bytes
from worker.store.objects import Objects
from worker.store.pins import Pins
from worker.store.refs import Refs
from worker.store.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config.settings import Settings
    from caskeeper.contract import Message, Request
    from worker.protocols import Context
    from worker.store.format import CreationLock, Format

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """Everything one process works with. ``close`` it at the end."""

    settings: Settings
    layout: Layout
    volume: Volume
    coordination: Coordination
    desk: OperationDesk
    remotes: RemotePool
    space: Space
    maintenance: Maintenance
    pull: Pull
    push: Push
    pull_tree: PullTree
    push_directory: PushDirectory
    push_message: PushMessage
    commit: Commit
    extract: Extract
    link: Link
    diff: Diff
    take_over: Import
    remove: Remove
    check_remotes: Remotes
    cleanup: Cleanup
    compute_size: Recount
    verify: Verify
    pins: Pinning
    healing: Healing
    explain: Explain
    status: Status
    protected_bytes: ProtectedBytes
    listing: Listing
    browse: Browse
    disk_usage: DiskUsageReport

    def run(self, request: Request, context: Context) -> Message:
        """Do what ``request`` asks for; its result is of the class its ``RESULT`` names."""
        verbs: dict[type[Request], Callable[..., Message]] = {
            PullRequest: self.pull,
            PushRequest: self.push,
            PullTreeRequest: self.pull_tree,
            PushDirectoryRequest: self.push_directory,
            PushMessageRequest: self.push_message,
            CommitRequest: self.commit,
            ExtractRequest: self.extract,
            LinkRequest: self.link,
            DiffRequest: self.diff,
            ImportRequest: self.take_over,
            RemoveRequest: self.remove,
            RemotesCheckRequest: self.check_remotes,
            CleanupRequest: self.cleanup,
            ComputeSizeRequest: self.compute_size,
            VerifyRequest: self.verify,
            ExplainRequest: self.explain,
        }
        verb = verbs.get(type(request))
        if verb is None:
            raise InvalidRequest("this worker does not know it", f"task {request.TASK}", "use a newer worker")
        # What local work takes is bounded by its lease; a remote's trouble by this.
        budget_s = self.settings.queue.job_budget_s if request.LANE in {"pull", "push"} else None
        try:
            self._keep_format()
            with errand(context.check, budget_s=budget_s, spent_s=context.spent_s) as job:
                within = context._replace(check=job.check)
                return self.healing.around(lambda: verb(request, within), subjects_of(request), within)
        except OSError as error:
            # The store turns its own into the project's errors; a look from a service ends here (AC-80).
            raise failure(error, error.filename or self.layout.root) from error

    def _keep_format(self) -> None:
        """Without FORMAT nobody could join: gone while we run, it is written anew (R13)."""
        if os.path.lexists(self.layout.format) or not os.path.lexists(self.layout.coordinator):
            return  # there, or no volume is: then it is not mounted
        self.maintenance.ensure_ready()  # the epoch of a Redis that lost its state agrees with nothing
        find_or_mend_format(self.layout, redis_url=self.coordination.url)

    def upkeep_wanted(self) -> Request | None:
        """The cleanup or the recount that somebody should ask for now (AC-37, D-33, D-34)."""
        # What no single operation meets, a session's damaged set, is seen by a look at the whole state.
        if self.coordination.state().lost:
            self.maintenance.ensure_ready()
        return self.space.upkeep_wanted()

    def close(self) -> None:
        """Leases of operations still running run out; connections are closed."""
        self.desk.close()
        self.remotes.close()
        self.coordination.close()


def build(settings: Settings, *, redis_url: str, looks: bool = False) -> Services:
    """Open the volume at ``settings.cachedir``, or make one there, and wire everything that works on it.

    Raises ConfigInvalid (another volume's Redis, another layout version, an unmounted volume, a quota that
    cannot be: AC-2), PermissionDenied (another uid), CoordinatorUnavailable, VolumeFailed. Whoever only
    ``looks`` writes nothing to try the volume.
    """
    volume, coordination = open_volume(settings, redis_url=redis_url, looks=looks)
    remotes = RemotePool(
        breaker=Breaker(coordination.breakers),
        turns=Turns(coordination.limits, most=settings.queue.max_transfers),
    )
    services = wire(settings, volume, coordination, remotes)
    try:
        services.maintenance.ensure_ready()
        services.space.accept()
    except BaseException:
        services.close()
        raise
    return services


def wire(settings: Settings, volume: Volume, coordination: Coordination, remotes: RemotePool) -> Services:
    """The services over parts that are there already. Contacts nobody."""
    objects, refs, closures, pins = Objects(volume), Refs(volume), Closures(volume), Pins(volume)
    space = Space(settings, volume, coordination)
    maintenance = Maintenance(
        volume=volume,
        refs=refs,
        closures=closures,
        objects=objects,
        pins=pins,
        coordination=coordination,
        may_come_back=lambda ref: bool(settings.remotes_for(ref.project)),
    )
    recount = Recount(maintenance)
    cleanup = Cleanup(maintenance, space, recount)
    room = Room(cleanup, space, clock_margin_s=settings.leases.clock_margin_s)
    desk = OperationDesk(
        volume=volume,
        objects=objects,
        coordination=coordination,
        space=space,
        make_ready=maintenance.ensure_ready,
        room=room,
        relieve=partial(relieve, maintenance),
    )
    naming, presence = Naming(refs, coordination), Presence(closures, objects)
    healing = Healing(maintenance, Restore(desk, settings=settings, remotes=remotes))
    extract = Extract(desk, naming, roots=settings.roots)
    pull = Pull(desk, naming, presence, settings=settings, remotes=remotes, extract=extract)
    return Services(
        settings=settings,
        layout=volume.layout,
        volume=volume,
        coordination=coordination,
        desk=desk,
        remotes=remotes,
        space=space,
        maintenance=maintenance,
        pull=pull,
        push=Push(desk, naming, presence, settings=settings, remotes=remotes),
        pull_tree=PullTree(desk, presence, settings=settings, remotes=remotes),
        push_directory=PushDirectory(desk, presence, settings=settings, remotes=remotes),
        push_message=PushMessage(settings=settings, remotes=remotes),
        commit=Commit(desk, naming, closures, roots=settings.roots),
        extract=extract,
        link=Link(desk, naming, presence),
        diff=Diff(desk, naming),
        take_over=Import(desk, naming, presence, roots=settings.roots),
        remove=Remove(maintenance, cleanup),
        check_remotes=Remotes(settings=settings, remotes=remotes),
        cleanup=cleanup,
        compute_size=recount,
        verify=Verify(maintenance, desk, cleanup, recount, healing, pull),
        pins=Pinning(maintenance),
        healing=healing,
        explain=Explain(maintenance, presence, space),
        status=Status(volume, coordination, space),
        protected_bytes=ProtectedBytes(refs, closures, pins, coordination),
        listing=Listing(refs, presence, coordination, pins),
        browse=Browse(naming, objects),
        disk_usage=DiskUsageReport(refs, closures, objects),
    )


def open_volume(settings: Settings, *, redis_url: str, looks: bool = False) -> tuple[Volume, Coordination]:
    """The volume at ``settings.cachedir`` and what Redis knows of it; both are made when neither exists."""
    layout = Layout(settings.cachedir)
    found = find_or_mend_format(layout, redis_url=redis_url)
    if found is None:
        _refuse_unmounted(layout, redis_url=redis_url)
        Volume.make_root(layout)
        volume = Volume(layout)
        with creation_lock(volume) as lock:
            found = find_format(layout) or _create(volume, lock, settings, redis_url=redis_url)
    volume = Volume(layout)
    accept(volume, found, clock_margin_s=settings.leases.clock_margin_s, looks=looks)
    coordination = Coordination.connect(redis_url, volume_id=found.volume_id, leases=settings.leases)
    try:
        refuse_second(volume, coordination)
    except BaseException:
        coordination.close()
        raise
    try:
        # What a full disk was given back stays free until there is room for both.
        if not looks and volume.space().available_bytes >= 2 * BALLAST_BYTES:
            make_ballast(volume)
    except NoSpace:
        log.warning("no room for the ballast", extra={"path": layout.ballast})
    return volume, coordination


def _create(volume: Volume, lock: CreationLock, settings: Settings, *, redis_url: str) -> Format:
    """A volume where none is. Cut short at any step, the next start goes on from there.

    FORMAT is staged before Redis learns of it and published afterwards: a volume that Redis knows can
    always be completed, and one that Redis does not know was never used.
    """
    layout = volume.layout
    _refuse_unmounted(layout, redis_url=redis_url)
    owner = Coordination.volume_of(redis_url)
    staged = staged_formats(layout)
    chosen = next((format_ for format_ in staged if owner in {None, format_.volume_id}), None)
    if chosen is None:
        if needs_adoption(layout):
            _adopt(volume, lock)
        else:
            _refuse_foreign(layout)
        prepare_folders(volume)
        chosen = new_format(volume)
    for other in staged:
        if other != chosen:
            discard_staged(volume, other)
    # A staged FORMAT leaves the part of the volume that is counted as soon as it is published.
    volume.block_bytes = chosen.block_bytes
    staged_bytes = volume.charge(len(chosen.to_bytes())) if chosen in staged else 0
    used = used_bytes(volume) - staged_bytes
    stage_format(volume, chosen)
    coordination = Coordination.create(
        redis_url,
        volume_id=chosen.volume_id,
        epoch=chosen.epoch,
        used_bytes=used,
        leases=settings.leases,
    )
    try:
        # The state of a creation that was cut short may be lost by now: then whoever recovers it writes.
        take_up(volume, coordination, coordination.state().epoch or chosen.epoch, begins=True)
    finally:
        coordination.close()
    published = publish_format(volume, chosen)
    if published.volume_id != chosen.volume_id:
        raise Busy("another host makes a volume in the same folder", layout.root)
    log.info("volume made", extra={"path": layout.root, "volume": chosen.volume_id})
    return published


def _adopt(volume: Volume, lock: CreationLock) -> None:
    adoption = adopt(volume, lock)
    prepare_folders(volume)
    aside = [*adoption.damaged, *take_over_refs(volume)]
    log.info(
        "cache of BuildStream 1.x adopted",
        extra={"path": volume.layout.root, "objects": adoption.objects, "bytes": adoption.size_bytes},
    )
    for path in aside:
        log.warning("set aside: it is damaged", extra={"path": path})


def _refuse_foreign(layout: Layout) -> None:
    """Objects without refs and FORMAT are another program's, which has other rules for them (I9)."""
    for _folder, _folders, files in os.walk(layout.objects):
        if files:
            raise ConfigInvalid(
                "the folder holds objects of another program, and nothing says what they belong to",
                layout.objects,
                "name an empty folder as `cachedir`, or a cache of BuildStream 1.x",
            )


def _refuse_unmounted(layout: Layout, *, redis_url: str) -> None:
    """A Redis that knows a volume, and a folder without one: nothing is written there (I9)."""
    owner = Coordination.volume_of(redis_url)
    if owner is None or any(staged.volume_id == owner for staged in staged_formats(layout)):
        return
    # Whoever makes a volume tells Redis before it publishes FORMAT: look for that once more, last.
    if find_format(layout) is None:
        raise ConfigInvalid(
            f"there is no volume here, and this Redis database belongs to volume {owner}",
            layout.root,
            "mount that volume, correct `cachedir`, or give this folder a Redis database of its own",
        )
