"""Push: offer refs to every push remote of their project (AC-62 to AC-68, D-12, D-18)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import Progress, PushOutcome, PushResult
from caskeeper.errors import (
    CaskeeperError,
    ConfigInvalid,
    InvalidRequest,
    NoSpace,
    PartialArtifact,
    PermissionDenied,
    RemoteUnavailable,
    Transient,
)
from worker.closure import WHOLE
from worker.protocols import Published
from worker.services import transfer
from worker.services.meter import Meter
from worker.services.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from caskeeper.contract import PushRequest
    from caskeeper.digest import Digest
    from worker.closure import Closure
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.naming import Naming
    from worker.services.operations import Operation, OperationDesk
    from worker.services.presence import Presence

log = logging.getLogger(__name__)

PUSHED, ALREADY_THERE, FULL, FAILED = "pushed", "already-there", "full", "failed"


class Push:
    """The verb ``artifacts.push``: a reader that claims every root it sends."""

    def __init__(
        self,
        desk: OperationDesk,
        naming: Naming,
        presence: Presence,
        *,
        settings: Settings,
        remotes: RemotePool,
    ) -> None:
        self._desk = desk
        self._naming = naming
        self._presence = presence
        self._settings = settings
        self._remotes = remotes

    def __call__(self, request: PushRequest, context: Context) -> PushResult:
        """One outcome for each remote; a remote's trouble is its own (D-18).

        Raises ArtifactNotFound, PartialArtifact, BlobMissing before or instead of sending a part of a
        tree; ConfigInvalid without a push remote; and when no remote was reached: RemoteUnavailable if
        any may answer later, NoSpace if all are full, else PermissionDenied.
        """
        refs = list(dict.fromkeys(Ref.parse(text, where="refs") for text in request.refs))
        if not refs:
            raise InvalidRequest("there is no ref to push", "argument refs", "give at least one")
        targets = self._targets(refs, request.remotes)
        with self._desk.reader("push", str(refs[0]), context) as operation:
            running = context._replace(check=operation.check)
            trees = self._claim(operation, refs)
            closures = {root: self._presence.closure(root, WHOLE) for root in trees.values()}
            outcomes = [
                self._to_remote(operation, spec, wanted, trees, closures, running)
                for spec, wanted in targets.items()
            ]
        self._naming.used(refs, touch=True)
        if all(outcome.outcome in {FULL, FAILED} for outcome in outcomes):
            raise _reached_none(refs[0], outcomes)
        return PushResult(
            pushed=any(outcome.outcome == PUSHED for outcome in outcomes), remotes=tuple(outcomes)
        )

    def _targets(self, refs: Sequence[Ref], only: tuple[str, ...] | None) -> dict[RemoteSpec, list[Ref]]:
        """The push remotes in order of priority, each with the refs of its projects; a URL counts once."""
        targets: dict[RemoteSpec, list[Ref]] = {}
        for ref in refs:
            specs = {
                spec.url: spec
                for spec in reversed(self._settings.remotes_for(ref.project, only=only))
                if spec.push
            }
            if not specs:
                raise ConfigInvalid(
                    f"no push remote is configured for project {ref.project!r}",
                    self._settings.source,
                    "set `push: true` on one under `artifacts:`, or name one with --remote",
                )
            for spec in reversed(specs.values()):
                targets.setdefault(spec, []).append(ref)
        return targets

    def _claim(self, operation: Operation, refs: Sequence[Ref]) -> dict[Ref, Digest]:
        """The root of every ref, claimed. Partial ones are refused (AC-67)."""
        trees = {}
        for ref in refs:
            record = self._naming.claim(operation, ref)
            if not record.scope.whole:
                left_out = ", ".join(record.scope.excluded)
                raise PartialArtifact(f"{left_out} was left out when it was pulled", f"ref {ref}")
            trees[ref] = record.root
        return trees

    def _to_remote(
        self,
        operation: Operation,
        spec: RemoteSpec,
        refs: Sequence[Ref],
        trees: dict[Ref, Digest],
        closures: dict[Digest, Closure],
        context: Context,
    ) -> PushOutcome:
        context.check()
        context.progress(Progress(phase=f"pushing {refs[0]} -> {spec.url}"))
        meter = Meter(context, "push")
        reached = PushOutcome(url=spec.url, outcome=ALREADY_THERE)
        watched: Watched | None = None
        try:
            remote = self._remotes.get(spec)
            watched = Watched(remote.blobs)
            with watched.watching():
                if not remote.writable:
                    raise PermissionDenied("the server does not allow push", f"remote {spec.url}")
            for root in dict.fromkeys(trees[ref] for ref in refs):
                names = [ref for ref in refs if trees[ref] == root]
                if self._send(operation, remote, watched, names, closures[root], meter, context):
                    reached = PushOutcome(url=spec.url, outcome=PUSHED)
        except CaskeeperError as failure:
            if watched is not None and not watched.caused(failure):
                raise
            reached = PushOutcome(
                url=spec.url,
                outcome=FULL if isinstance(failure, NoSpace) else FAILED,
                reason=str(failure),
                retry=isinstance(failure, Transient),
            )
        outcome = _counted(reached, meter)
        log.info(outcome.outcome, extra={"ref": str(refs[0]), "url": spec.url, "reason": outcome.reason})
        return outcome

    def _send(
        self,
        operation: Operation,
        remote: Remote,
        watched: Watched,
        refs: Sequence[Ref],
        closure: Closure,
        meter: Meter,
        context: Context,
    ) -> bool:
        """One tree under all its names. False: every name is bound to it there already."""
        with watched.watching():
            there = {ref: remote.index.resolve(ref) for ref in refs}
        wanted = Published(roots=(closure.root,))
        lacking = [ref for ref, found in there.items() if found is None or found.roots != wanted.roots]
        if not lacking:
            return False
        digests = closure.digests
        missing = transfer.find_missing(watched, digests, context)
        self._presence.require(missing)
        meter.expect(digests, missing)
        folders, absent = set(closure.directories), set(missing)
        files = [digest for digest in missing if digest not in folders]
        transfer.copy(operation.blobs, watched, files, context=context, meter=meter)
        messages = [digest for digest in closure.directories if digest in absent]
        transfer.copy(operation.blobs, watched, messages, context=context, meter=meter)
        meter.show()
        with watched.watching():
            remote.index.publish(lacking, wanted)  # AC-64: only now
        return True


def _counted(outcome: PushOutcome, meter: Meter) -> PushOutcome:
    return PushOutcome(
        url=outcome.url,
        outcome=outcome.outcome,
        blobs=meter.done[0],
        bytes=meter.done[1],
        reason=outcome.reason,
        retry=outcome.retry,
    )


def _reached_none(ref: Ref, outcomes: Sequence[PushOutcome]) -> CaskeeperError:
    """Interface section 7: what a push that reached no remote ends with."""
    what = "; ".join(f"{outcome.url}: {outcome.reason}" for outcome in outcomes)
    if any(outcome.retry and outcome.outcome == FAILED for outcome in outcomes):
        return RemoteUnavailable(f"no remote was reached: {what}", f"ref {ref}")
    if all(outcome.outcome == FULL for outcome in outcomes):
        return NoSpace(
            f"every remote is full: {what}", f"ref {ref}", "free space there, or push to another remote"
        )
    return PermissionDenied(f"no remote took it: {what}", f"ref {ref}")
