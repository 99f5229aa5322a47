"""Push: offer refs to every push remote of their project (AC-62 to AC-68, D-12, D-18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import PushResult
from caskeeper.errors import InvalidRequest, PartialArtifact
from worker.closure import WHOLE
from worker.protocols import Published
from worker.services import tree_copy
from worker.services.meter import Meter
from worker.services.outcomes import PUSHED, Subject, offer, push_specs, require_one_reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from caskeeper.contract import PushOutcome, PushRequest
    from caskeeper.digest import Digest
    from worker.closure import Closure
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.naming import Naming
    from worker.services.operations import Operation, OperationDesk
    from worker.services.presence import Presence
    from worker.services.watched import Watched


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
            self._remotes.meet(tuple(targets))
            outcomes = [
                self._to_remote(operation, spec, wanted, trees, closures, running)
                for spec, wanted in targets.items()
            ]
        self._naming.used(refs, touch=True)
        require_one_reached(Subject("ref", str(refs[0])), outcomes)
        return PushResult(
            pushed=any(outcome.outcome == PUSHED for outcome in outcomes), remotes=tuple(outcomes)
        )

    def _targets(self, refs: Sequence[Ref], only: tuple[str, ...] | None) -> dict[RemoteSpec, list[Ref]]:
        """The push remotes in order of priority, each with the refs of its projects; a URL counts once."""
        targets: dict[RemoteSpec, list[Ref]] = {}
        for ref in refs:
            for spec in push_specs(self._settings, ref.project, only=only):
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
        meter = Meter(context, "push")

        def send(remote: Remote, watched: Watched) -> bool:
            updated = False
            for root in dict.fromkeys(trees[ref] for ref in refs):
                names = [ref for ref in refs if trees[ref] == root]
                updated |= self._send(operation, remote, watched, names, closures[root], meter, context)
            return updated

        return offer(
            self._remotes, spec, send, meter=meter, subject=Subject("ref", str(refs[0])), context=context
        )

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
        tree_copy.send(operation, closure, watched, presence=self._presence, meter=meter, context=context)
        with watched.watching():
            remote.index.publish(lacking, wanted)  # AC-64: only now
        return True
