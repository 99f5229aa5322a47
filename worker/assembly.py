"""The services over one volume, each made when it is first used.

Nothing but this and what it stands on, ``worker.foundation``, picks implementations. What only looks loads
and makes the little that it looks with; whoever works asks for everything at once (``make_all``,
``worker.everything``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.errors import InvalidRequest
from worker.foundation import Foundation
from worker.part import Part
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import Message, Request
    from worker.protocols import Context
    from worker.services.browse import Browse
    from worker.services.commit import Commit
    from worker.services.diff import Diff
    from worker.services.disk_usage import DiskUsageReport
    from worker.services.explain import Explain
    from worker.services.extract import Extract
    from worker.services.importing import Import
    from worker.services.link import Link
    from worker.services.listing import Listing
    from worker.services.pins import Pinning
    from worker.services.protected import ProtectedBytes
    from worker.services.pull import Pull
    from worker.services.push import Push
    from worker.services.remotes import Remotes
    from worker.services.remove import Remove
    from worker.services.status import Status
    from worker.services.trees import PullTree, PushDirectory, PushMessage
    from worker.services.verify import Verify


class Services(Foundation):
    """Everything one process works with. ``close`` it at the end.

    A service that is first asked for by two threads at once may be made twice: whoever has threads calls
    ``make_all`` before they run.
    """

    def make_all(self) -> None:
        """Make every service now."""
        for parts in (Foundation, Services):
            for name, member in vars(parts).items():
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

    # The verbs, which ``_VERBS`` names by their tasks; two of them make room and stand in the foundation

    @Part
    def pull(self) -> Pull:
        from worker.services.pull import Pull

        return Pull(
            self.desk,
            self.naming,
            self.presence,
            settings=self.settings,
            remotes=self.remotes,
            extract=self.extract,
        )

    @Part
    def push(self) -> Push:
        from worker.services.push import Push

        return Push(self.desk, self.naming, self.presence, settings=self.settings, remotes=self.remotes)

    @Part
    def pull_tree(self) -> PullTree:
        from worker.services.trees import PullTree

        return PullTree(self.desk, self.presence, settings=self.settings, remotes=self.remotes)

    @Part
    def push_directory(self) -> PushDirectory:
        from worker.services.trees import PushDirectory

        return PushDirectory(self.desk, self.presence, settings=self.settings, remotes=self.remotes)

    @Part
    def push_message(self) -> PushMessage:
        from worker.services.trees import PushMessage

        return PushMessage(settings=self.settings, remotes=self.remotes)

    @Part
    def commit(self) -> Commit:
        from worker.services.commit import Commit

        return Commit(
            self.desk,
            self.naming,
            self.closures,
            roots=self.settings.roots,
            companion=self.companion,
        )

    @Part
    def extract(self) -> Extract:
        from worker.services.extract import Extract

        return Extract(self.desk, self.naming, roots=self.settings.roots, companion=self.companion)

    @Part
    def link(self) -> Link:
        from worker.services.link import Link

        return Link(self.desk, self.naming, self.presence)

    @Part
    def diff(self) -> Diff:
        from worker.services.diff import Diff

        return Diff(self.desk, self.naming)

    @Part
    def take_over(self) -> Import:
        from worker.services.importing import Import

        return Import(self.desk, self.naming, self.presence, roots=self.settings.roots)

    @Part
    def remove(self) -> Remove:
        from worker.services.remove import Remove

        return Remove(self.maintenance, self.cleanup)

    @Part
    def check_remotes(self) -> Remotes:
        from worker.services.remotes import Remotes

        return Remotes(settings=self.settings, remotes=self.remotes)

    @Part
    def verify(self) -> Verify:
        from worker.services.verify import Verify

        return Verify(self.maintenance, self.desk, self.cleanup, self.compute_size, self.healing, self.pull)

    @Part
    def explain(self) -> Explain:
        from worker.services.explain import Explain

        return Explain(self.maintenance, self.presence, self.space)

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

        return ProtectedBytes(self.refs, self.closures, self.pins_on_disk, self.coordination)

    @Part
    def listing(self) -> Listing:
        """List and show."""
        from worker.services.listing import Listing

        return Listing(self.refs, self.presence, self.coordination, self.pins_on_disk)

    @Part
    def browse(self) -> Browse:
        """The files of an artifact."""
        from worker.services.browse import Browse

        return Browse(self.naming, self.objects)

    @Part
    def disk_usage(self) -> DiskUsageReport:
        """What artifacts take."""
        from worker.services.disk_usage import DiskUsageReport

        return DiskUsageReport(self.refs, self.closures, self.objects)


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
