"""The services over one volume, each made when it is first used.

Nothing else picks implementations. What only looks loads and makes the little that it looks with; whoever
works asks for everything at once (``make_all``, ``worker.everything``).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from caskeeper.errors import InvalidRequest
from worker.part import Part
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config.settings import Settings
    from caskeeper.contract import Message, Request
    from caskeeper.coordination import Coordination
    from caskeeper.layout import Layout
    from worker.protocols import Context
    from worker.remote import RemotePool
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
    from worker.services.maintenance import Maintenance
    from worker.services.naming import Naming
    from worker.services.pins import Pinning
    from worker.services.presence import Presence
    from worker.services.protected import ProtectedBytes
    from worker.services.pull import Pull
    from worker.services.push import Push
    from worker.services.recount import Recount
    from worker.services.remotes import Remotes
    from worker.services.remove import Remove
    from worker.services.space import Space
    from worker.services.status import Status
    from worker.services.trees import PullTree, PushDirectory, PushMessage
    from worker.services.verify import Verify
    from worker.store.closures import Closures
    from worker.store.companion.owner import Companion
    from worker.store.objects import Objects
    from worker.store.pins import Pins
    from worker.store.refs import Refs
    from worker.store.volume import Volume


class Services:
    """Everything one process works with. ``close`` it at the end.

    A service that is first asked for by two threads at once may be made twice: whoever has threads calls
    ``make_all`` before they run.
    """

    def __init__(
        self,
        settings: Settings,
        volume: Volume,
        coordination: Coordination,
        remotes: Callable[[], RemotePool],
    ) -> None:
        """Contacts nobody. ``remotes`` is called once, when somebody wants one."""
        self.settings = settings
        self.volume = volume
        self.coordination = coordination
        self._pool = remotes

    @property
    def layout(self) -> Layout:
        """Where everything is on the volume."""
        return self.volume.layout

    def make_all(self) -> None:
        """Make every service now."""
        for name, member in vars(Services).items():
            if isinstance(member, Part):
                getattr(self, name)

    def run(self, request: Request, context: Context) -> Message:
        """Do what ``request`` asks for; its result is of the class its ``RESULT`` names."""
        from worker.errand import errand
        from worker.services.subjects import subjects_of

        name = _VERBS.get(request.TASK)
        if name is None:
            raise InvalidRequest("this worker does not know it", f"task {request.TASK}", "use a newer worker")
        verb: Callable[..., Message] = getattr(self, name)
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
        from worker.services.lost_format import find_or_mend_format

        self.maintenance.ensure_ready()  # the epoch of a Redis that lost its state agrees with nothing
        find_or_mend_format(self.layout, redis_url=self.coordination.url)

    def upkeep_wanted(self) -> Request | None:
        """The cleanup or the recount that somebody should ask for now (AC-37, D-33, D-34)."""
        # What no single operation meets, a session's damaged set, is seen by a look at the whole state.
        state, usage = self.coordination.look()
        if state.lost:
            self.maintenance.ensure_ready()
        return self.space.upkeep_wanted(None if state.lost else usage)

    def close(self) -> None:
        """Leases of operations still running run out; connections are closed."""
        made = vars(self)
        with ExitStack() as last:
            last.callback(self.coordination.close)
            if "remotes" in made:
                last.callback(self.remotes.close)
            if "desk" in made:
                last.callback(self.desk.close)
            if "companion" in made:
                last.callback(self.companion.close)

    # The parts

    @Part
    def remotes(self) -> RemotePool:
        """Other caches."""
        return self._pool()

    @Part
    def _objects(self) -> Objects:
        from worker.store.objects import Objects

        return Objects(self.volume)

    @Part
    def _refs(self) -> Refs:
        from worker.store.refs import Refs

        return Refs(self.volume)

    @Part
    def _closures(self) -> Closures:
        from worker.store.closures import Closures

        return Closures(self.volume)

    @Part
    def _pins(self) -> Pins:
        from worker.store.pins import Pins

        return Pins(self.volume)

    @Part
    def _naming(self) -> Naming:
        from worker.services.naming import Naming

        return Naming(self._refs, self.coordination)

    @Part
    def companion(self) -> Companion:
        """A second process for large trees."""
        from worker.store.companion.owner import Companion

        return Companion(self.volume)

    @Part
    def _presence(self) -> Presence:
        from worker.services.presence import Presence

        return Presence(self._closures, self._objects)

    @Part
    def space(self) -> Space:
        """How much may be on the volume."""
        from worker.services.space import Space

        return Space(self.settings, self.volume, self.coordination)

    @Part
    def maintenance(self) -> Maintenance:
        """The way to the one lease."""
        from worker.services.maintenance import Maintenance

        return Maintenance(
            volume=self.volume,
            refs=self._refs,
            closures=self._closures,
            objects=self._objects,
            pins=self._pins,
            coordination=self.coordination,
            may_come_back=lambda ref: bool(self.settings.remotes_for(ref.project)),
        )

    @Part
    def desk(self) -> OperationDesk:
        """Where operations come from."""
        from worker.services.desk import OperationDesk
        from worker.services.relief import relieve
        from worker.services.room import Room

        return OperationDesk(
            volume=self.volume,
            objects=self._objects,
            coordination=self.coordination,
            space=self.space,
            make_ready=self.maintenance.ensure_ready,
            room=Room(self.cleanup, self.space, clock_margin_s=self.settings.leases.clock_margin_s),
            relieve=partial(relieve, self.maintenance),
            companion=self.companion,
        )

    @Part
    def healing(self) -> Healing:
        """Who takes damaged content away."""
        from worker.services.healing import Healing
        from worker.services.restoring import Restore

        restore = Restore(self.desk, settings=self.settings, remotes=self.remotes)
        return Healing(self.maintenance, restore)

    # The verbs, which ``_VERBS`` names by their tasks

    @Part
    def pull(self) -> Pull:
        from worker.services.pull import Pull

        return Pull(
            self.desk,
            self._naming,
            self._presence,
            settings=self.settings,
            remotes=self.remotes,
            extract=self.extract,
        )

    @Part
    def push(self) -> Push:
        from worker.services.push import Push

        return Push(self.desk, self._naming, self._presence, settings=self.settings, remotes=self.remotes)

    @Part
    def pull_tree(self) -> PullTree:
        from worker.services.trees import PullTree

        return PullTree(self.desk, self._presence, settings=self.settings, remotes=self.remotes)

    @Part
    def push_directory(self) -> PushDirectory:
        from worker.services.trees import PushDirectory

        return PushDirectory(self.desk, self._presence, settings=self.settings, remotes=self.remotes)

    @Part
    def push_message(self) -> PushMessage:
        from worker.services.trees import PushMessage

        return PushMessage(settings=self.settings, remotes=self.remotes)

    @Part
    def commit(self) -> Commit:
        from worker.services.commit import Commit

        return Commit(
            self.desk,
            self._naming,
            self._closures,
            roots=self.settings.roots,
            companion=self.companion,
        )

    @Part
    def extract(self) -> Extract:
        from worker.services.extract import Extract

        return Extract(self.desk, self._naming, roots=self.settings.roots, companion=self.companion)

    @Part
    def link(self) -> Link:
        from worker.services.link import Link

        return Link(self.desk, self._naming, self._presence)

    @Part
    def diff(self) -> Diff:
        from worker.services.diff import Diff

        return Diff(self.desk, self._naming)

    @Part
    def take_over(self) -> Import:
        from worker.services.importing import Import

        return Import(self.desk, self._naming, self._presence, roots=self.settings.roots)

    @Part
    def remove(self) -> Remove:
        from worker.services.remove import Remove

        return Remove(self.maintenance, self.cleanup)

    @Part
    def check_remotes(self) -> Remotes:
        from worker.services.remotes import Remotes

        return Remotes(settings=self.settings, remotes=self.remotes)

    @Part
    def compute_size(self) -> Recount:
        from worker.services.recount import Recount

        return Recount(self.maintenance)

    @Part
    def cleanup(self) -> Cleanup:
        from worker.services.cleanup import Cleanup

        return Cleanup(self.maintenance, self.space, self.compute_size, companion=self.companion)

    @Part
    def verify(self) -> Verify:
        from worker.services.verify import Verify

        return Verify(self.maintenance, self.desk, self.cleanup, self.compute_size, self.healing, self.pull)

    @Part
    def explain(self) -> Explain:
        from worker.services.explain import Explain

        return Explain(self.maintenance, self._presence, self.space)

    # What needs no job

    @Part
    def pins(self) -> Pinning:
        """Pin and unpin."""
        from worker.services.pins import Pinning

        return Pinning(self.maintenance)

    @Part
    def status(self) -> Status:
        """How full it is, and who is at work."""
        from worker.services.status import Status

        return Status(self.volume, self.coordination, self.space)

    @Part
    def protected_bytes(self) -> ProtectedBytes:
        """What no cleanup may take."""
        from worker.services.protected import ProtectedBytes

        return ProtectedBytes(self._refs, self._closures, self._pins, self.coordination)

    @Part
    def listing(self) -> Listing:
        """List and show."""
        from worker.services.listing import Listing

        return Listing(self._refs, self._presence, self.coordination, self._pins)

    @Part
    def browse(self) -> Browse:
        """The files of an artifact."""
        from worker.services.browse import Browse

        return Browse(self._naming, self._objects)

    @Part
    def disk_usage(self) -> DiskUsageReport:
        """What artifacts take."""
        from worker.services.disk_usage import DiskUsageReport

        return DiskUsageReport(self._refs, self._closures, self._objects)


#: The service for each task.
_VERBS = {
    "artifacts.pull": "pull",
    "artifacts.push": "push",
    "artifacts.pull_tree": "pull_tree",
    "artifacts.push_directory": "push_directory",
    "artifacts.push_message": "push_message",
    "artifacts.commit": "commit",
    "artifacts.extract": "extract",
    "artifacts.link": "link",
    "artifacts.diff": "diff",
    "artifacts.import": "take_over",
    "artifacts.remove": "remove",
    "remotes.check": "check_remotes",
    "cache.cleanup": "cleanup",
    "cache.compute_size": "compute_size",
    "cache.verify": "verify",
    "cache.explain": "explain",
}
