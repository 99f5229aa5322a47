"""Pull: bring an artifact here from the first remote that has it (AC-69 to AC-74, D-17, D-19, D-20)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.contract import PullResult
from caskeeper.errors import Busy, DigestMismatch
from caskeeper.layout import relative_subdir
from worker.closure import Scope, descend, normalise, walk
from worker.services import tree_copy
from worker.services.gather import Gathered, gather
from worker.services.kinds import incoming, offered
from worker.services.naming import ATTEMPTS
from worker.services.outcomes import Subject, fetch_specs, first_to_give
from worker.store.damage import ObjectDamaged, ObjectMissing
from worker.store.refs import RefRecord

if TYPE_CHECKING:
    from caskeeper.config.settings import Settings
    from caskeeper.contract import PullRequest
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.desk import OperationDesk
    from worker.services.extract import Extract
    from worker.services.naming import Naming
    from worker.services.operations import Operation
    from worker.services.presence import Presence
    from worker.services.watched import Watched

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """Which part of the artifact the request asks for."""

    subdir: str | None
    excluded: Scope

    @classmethod
    def of(cls, request: PullRequest) -> Wanted:
        """Raises InvalidRequest for a sub-directory or an excluded name that cannot be one (D-19)."""
        subdir = None if request.subdir is None else relative_subdir(request.subdir)
        return cls(subdir, Scope.of(request.excluded_subdirs))

    def beside(self, recorded: Scope | None) -> Scope:
        """The scope after the pull; ``recorded`` is what is here of the same root (AC-73)."""
        if self.subdir is not None:
            return (self.excluded if recorded is None else recorded).with_subdir(self.subdir)
        if recorded is None:
            return self.excluded
        both = set(recorded.excluded) & set(self.excluded.excluded)
        return Scope.of(both, recorded.included)


class Pull:
    """The verb ``artifacts.pull``. Always a writer, also when everything is here already."""

    def __init__(
        self,
        desk: OperationDesk,
        naming: Naming,
        presence: Presence,
        *,
        settings: Settings,
        remotes: RemotePool,
        extract: Extract,
    ) -> None:
        self._desk = desk
        self._naming = naming
        self._presence = presence
        self._settings = settings
        self._remotes = remotes
        self._extract = extract

    def __call__(self, request: PullRequest, context: Context) -> PullResult:
        """``cached`` when it is complete here, ``pulled`` when a remote gave it, neither when none has it.

        Raises ConfigInvalid without a remote; when nobody had it and some remotes failed, their failure,
        a transient one first (D-17).
        """
        ref, wanted = Ref.parse(request.ref, where="ref"), Wanted.of(request)
        with self._desk.writer("pull", str(ref), context) as operation:
            running = context._replace(check=operation.check)
            gap: ObjectMissing | None = None
            here = False
            try:
                here = not request.refresh and self._is_here(operation, ref, wanted, running)
            except ObjectMissing as lost:
                log.warning("artifact has a gap here", extra={"ref": str(ref), "reason": str(lost)})
                gap = lost
            if here:
                result = PullResult(pulled=False, cached=True)
            else:
                found = self._from_remotes(operation, ref, wanted, request.remotes, running)
                if found is None:
                    if gap is not None:
                        raise gap  # nobody fills it: the ref that cannot be read is healed away
                    here = request.refresh and self._is_here(operation, ref, wanted, running)
                    return PullResult(pulled=False, cached=here)
                result = found
                if gap is not None:
                    self._naming.healed(
                        ref, "a part of it was missing, and was fetched anew", by=operation.id
                    )
        if wanted.subdir is not None:
            self._extract.gain(ref, wanted.subdir, context)  # AC-70
        return result

    def _is_here(self, operation: Operation, ref: Ref, wanted: Wanted, context: Context) -> bool:
        """Whether the ref is complete in the scope asked for, and now young and held.

        Raises InvalidRequest when it is and has no such sub-directory, ObjectMissing, ObjectDamaged.
        """
        for _attempt in range(ATTEMPTS):
            record = self._naming.refs.read(ref)
            if record is None or wanted.beside(record.scope) != record.scope:
                return False
            try:
                self._presence.rely(operation, record.root, record.scope, context)
                if wanted.subdir is not None:
                    descend(record.root, wanted.subdir, self._presence.objects.directory, where=f"ref {ref}")
            except (ObjectDamaged, ObjectMissing):
                raise
            except DigestMismatch as lie:
                log.warning("artifact names wrong sizes here", extra={"ref": str(ref), "reason": str(lie)})
                return False
            operation.hold([ref], record.roots)
            again = self._naming.refs.read(ref)
            if again is None:
                # evicted between the first look and the hold; everything it names is young by now
                self._naming.publish(operation, [ref], record)
                return True
            if again.roots == record.roots and again.scope == record.scope:
                self._naming.used([ref], touch=True)
                return True
        raise Busy("it is bound to something else again and again", f"ref {ref}")

    def _from_remotes(
        self,
        operation: Operation,
        ref: Ref,
        wanted: Wanted,
        only: tuple[str, ...] | None,
        context: Context,
    ) -> PullResult | None:
        def fetch(remote: Remote, watched: Watched) -> PullResult | None:
            return self._fetch(operation, remote, watched, ref, wanted, context)

        specs = fetch_specs(self._settings, ref.project, only=only)
        return first_to_give(self._remotes, specs, fetch, subject=Subject("ref", str(ref)), context=context)

    def _fetch(
        self,
        operation: Operation,
        remote: Remote,
        watched: Watched,
        ref: Ref,
        wanted: Wanted,
        context: Context,
    ) -> PullResult | None:
        """All of it from one remote and the ref published; None when that has no such ref."""
        with watched.watching():
            published = remote.index.resolve(ref)
            if published is None:
                return None
        tree = incoming(published, watched, context)
        # One that cannot be read is replaced like any other: that is what mends it.
        record = self._naming.refs.record_at(self._naming.refs.volume.layout.ref(ref))
        same = record is not None and (record.roots, record.kind) == ((tree.root,), tree.kind)
        scope = wanted.beside(record.scope if record is not None and same else None)
        held, store, watched = Gathered(), operation.blobs, tree.remote
        scope = offered(tree, scope, required=wanted.subdir, held=held, store=store, context=context)
        gather(tree.root, scope, store=store, remote=watched, context=context, held=held)
        with watched.watching():
            if wanted.subdir is not None:
                descend(tree.root, wanted.subdir, held.read)
            closure = walk(tree.root, normalise(scope, held.read(tree.root)), held.read)
        meter = tree_copy.bring(operation, closure, held, watched, context)
        self._presence.closures.write(operation.staging, closure)
        labels = record.labels if record is not None and same else {}
        fresh = RefRecord.fresh(
            (tree.root,), origin=remote.url, scope=closure.scope, kind=tree.kind, labels=labels
        )
        self._naming.publish(operation, [ref], fresh)
        return PullResult(
            pulled=True, cached=False, remote=remote.url, blobs=meter.total[0], bytes=meter.total[1]
        )
