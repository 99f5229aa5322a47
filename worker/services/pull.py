"""Pull: bring an artifact here from the first remote that has it (AC-69 to AC-74, D-17, D-19, D-20)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.contract import Progress, PullResult
from caskeeper.errors import (
    BlobMissing,
    Busy,
    CaskeeperError,
    ConfigInvalid,
    DigestMismatch,
    InvalidRequest,
    Transient,
)
from caskeeper.layout import relative_subdir
from worker.closure import Scope, descend, normalise, walk
from worker.services import transfer
from worker.services.gather import gather
from worker.services.meter import Meter
from worker.services.naming import ATTEMPTS, DIRECTORY
from worker.services.watched import Watched
from worker.store.refs import RefRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from caskeeper.contract import PullRequest
    from worker.closure import Closure
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.extract import Extract
    from worker.services.gather import Gathered
    from worker.services.naming import Naming
    from worker.services.operations import Operation, OperationDesk
    from worker.services.presence import Presence

log = logging.getLogger(__name__)

#: A closure list: its header and sum, and one record for each digest (an upper bound, to reserve).
_LIST_BYTES, _LIST_RECORD_BYTES = 256, 40


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
            if not request.refresh and self._is_here(operation, ref, wanted, running):
                result = PullResult(pulled=False, cached=True)
            else:
                specs = self._settings.remotes_for(ref.project, only=request.remotes)
                found = self._from_remotes(operation, ref, wanted, specs, running)
                if found is None:
                    here = request.refresh and self._is_here(operation, ref, wanted, running)
                    return PullResult(pulled=False, cached=here)
                result = found
        if wanted.subdir is not None:
            self._extract.gain(ref, wanted.subdir, context)  # AC-70
        return result

    def _is_here(self, operation: Operation, ref: Ref, wanted: Wanted, context: Context) -> bool:
        """Whether the ref is complete in the scope asked for, and now young and held."""
        for _attempt in range(ATTEMPTS):
            record = self._naming.refs.read(ref)
            if record is None or record.kind != DIRECTORY or wanted.beside(record.scope) != record.scope:
                return False
            try:
                self._presence.rely(operation, record.root, record.scope, context)
            except (BlobMissing, DigestMismatch) as gap:
                log.warning("artifact is damaged here", extra={"ref": str(ref), "reason": str(gap)})
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
        specs: Sequence[RemoteSpec],
        context: Context,
    ) -> PullResult | None:
        if not specs:
            raise ConfigInvalid(
                f"no remote is configured for project {ref.project!r}",
                self._settings.source,
                "add one under `artifacts:`, or name one with --remote",
            )
        failures: list[tuple[str, CaskeeperError]] = []
        for spec in specs:
            context.check()
            context.progress(Progress(phase=f"pulling {ref} <- {spec.url}"))
            try:
                remote = self._remotes.get(spec)
                watched = Watched(remote.blobs)
            except CaskeeperError as failure:
                failures.append((spec.url, failure))
                continue
            try:
                result = self._fetch(operation, remote, watched, ref, wanted, context)
            except CaskeeperError as failure:
                # A size that contradicts what is stored here came from the remote, whoever noticed it.
                if not (watched.caused(failure) or isinstance(failure, DigestMismatch)):
                    raise
                if not isinstance(failure, BlobMissing):
                    failures.append((spec.url, failure))
                    log.warning(
                        "remote failed", extra={"ref": str(ref), "url": spec.url, "reason": str(failure)}
                    )
                    continue
                result = None  # AC-71: expired there while we looked
            if result is not None:
                log.info("pulled", extra={"ref": str(ref), "url": spec.url, "bytes": result.bytes})
                return result
            log.info("remote does not have it", extra={"ref": str(ref), "url": spec.url})
        if failures:
            raise _worst(ref, failures)
        return None

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
            if published.kind != DIRECTORY:
                raise InvalidRequest("it does not name a directory tree there", f"ref {ref}")
        root = published.root
        record = self._naming.refs.read(ref)
        same = record is not None and record.roots == (root,)
        scope = wanted.beside(record.scope if record is not None and same else None)
        held = gather(root, scope, store=operation.blobs, remote=watched, context=context)
        with watched.watching():
            if wanted.subdir is not None:
                descend(root, wanted.subdir, held.read)
            closure = walk(root, normalise(scope, held.read(root)), held.read)
        meter = self._store(operation, closure, held, watched, context)
        self._presence.closures.write(operation.staging, closure)
        labels = record.labels if record is not None and same else {}
        self._naming.publish(
            operation,
            [ref],
            RefRecord.fresh((root,), origin=remote.url, scope=closure.scope, labels=labels),
        )
        return PullResult(
            pulled=True, cached=False, remote=remote.url, blobs=meter.total[0], bytes=meter.total[1]
        )

    def _store(
        self, operation: Operation, closure: Closure, held: Gathered, watched: Watched, context: Context
    ) -> Meter:
        """Reserve for what is missing, copy the files, then the Directories, children first (I2)."""
        digests = closure.digests
        missing = transfer.find_missing(operation.blobs, digests, context)
        charge = self._desk.volume.charge
        list_bytes = _LIST_BYTES + _LIST_RECORD_BYTES * len(digests)
        operation.reserve(
            sum(charge(digest.size_bytes) for digest in missing) + charge(list_bytes) + charge(1)
        )
        meter = Meter(context, "pull")
        meter.expect(digests, missing)
        folders, lacking = set(closure.directories), set(missing)
        files = [digest for digest in missing if digest not in folders]
        transfer.copy(watched, operation.blobs, files, context=context, meter=meter)
        ordered = [digest for digest in closure.directories if digest in lacking]
        transfer.copy(held, operation.blobs, ordered, context=context, meter=meter, ordered=True)
        meter.show()
        return meter


def _worst(ref: Ref, failures: Sequence[tuple[str, CaskeeperError]]) -> CaskeeperError:
    """One error for all remotes that failed: transient if any was, for then it may be had later (D-17)."""
    url, chosen = next(
        ((url, failure) for url, failure in failures if isinstance(failure, Transient)), failures[0]
    )
    if len(failures) == 1:
        return type(chosen)(chosen.what, f"ref {ref}, remote {url}", chosen.way_out)
    what = "; ".join(f"{place}: {failure.what}" for place, failure in failures)
    return type(chosen)(what, f"ref {ref}", chosen.way_out)
