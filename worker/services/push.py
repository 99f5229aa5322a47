"""Push: offer refs to every push remote of their project (AC-62 to AC-68, D-12, D-18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import PushResult
from caskeeper.errors import InvalidRequest, PartialArtifact
from worker.protocols import ARTIFACT
from worker.services import tree_copy
from worker.services.kinds import outgoing, tree_message
from worker.services.meter import Meter
from worker.services.outcomes import PUSHED, Subject, offer, push_specs, require_one_reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from caskeeper.contract import PushRequest
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.remote import Remote, RemotePool
    from worker.services.desk import OperationDesk
    from worker.services.kinds import Outgoing
    from worker.services.naming import Naming
    from worker.services.operations import Operation
    from worker.services.outcomes import Offered
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
        tree; ConfigInvalid without a push remote; and what ``require_one_reached`` does when none was.
        """
        refs = list(dict.fromkeys(Ref.parse(text, where="refs") for text in request.refs))
        if not refs:
            raise InvalidRequest("there is no ref to push", "argument refs", "give at least one")
        targets = self._targets(refs, request.remotes)
        with self._desk.reader("push", str(refs[0]), context) as operation:
            running = context._replace(check=operation.check)
            trees = self._claim(operation, refs)
            self._remotes.meet(tuple(targets))
            offers = [
                self._to_remote(operation, spec, wanted, trees, running) for spec, wanted in targets.items()
            ]
        self._naming.used(refs, touch=True)
        outcomes = require_one_reached(Subject("ref", str(refs[0])), offers)
        return PushResult(pushed=any(outcome.outcome == PUSHED for outcome in outcomes), remotes=outcomes)

    def _targets(self, refs: Sequence[Ref], only: tuple[str, ...] | None) -> dict[RemoteSpec, list[Ref]]:
        """The push remotes in order of priority, each with the refs of its projects; a URL counts once."""
        targets: dict[RemoteSpec, list[Ref]] = {}
        for ref in refs:
            for spec in push_specs(self._settings, ref.project, only=only):
                targets.setdefault(spec, []).append(ref)
        return targets

    def _claim(self, operation: Operation, refs: Sequence[Ref]) -> dict[Ref, Outgoing]:
        """What every ref names, claimed; refs of one tree share it. Partial ones are refused (AC-67)."""
        trees: dict[tuple[Digest, int], Outgoing] = {}
        named = {}
        for ref in refs:
            record = self._naming.claim(operation, ref)
            if not record.scope.whole:
                left_out = ", ".join(record.scope.excluded)
                raise PartialArtifact(f"it was pulled without {left_out}", f"ref {ref}")
            key = (record.root, record.kind)
            if key not in trees:
                trees[key] = outgoing(record, self._presence)
            named[ref] = trees[key]
        return named

    def _to_remote(
        self,
        operation: Operation,
        spec: RemoteSpec,
        refs: Sequence[Ref],
        trees: dict[Ref, Outgoing],
        context: Context,
    ) -> Offered:
        meter = Meter(context, "push")
        names: dict[int, list[Ref]] = {}
        for ref in refs:
            names.setdefault(id(trees[ref]), []).append(ref)

        def send(remote: Remote, watched: Watched) -> bool:
            updated = False
            for same in names.values():
                tree = trees[same[0]]
                updated |= self._send(operation, remote, watched, same, tree, meter, context)
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
        tree: Outgoing,
        meter: Meter,
        context: Context,
    ) -> bool:
        """One tree under all its names. False: every name is bound to it there already, and it is whole."""
        closure, wanted = tree
        with watched.watching():
            if wanted.kind not in remote.index.kinds:
                raise InvalidRequest(
                    "the remote's index cannot name an artifact of BuildStream 2",
                    f"ref {refs[0]} at {remote.url}",
                    "push it to a remote with a Remote Asset index",
                )
            there = {ref: remote.index.resolve(ref) for ref in refs}
        lacking = [
            ref
            for ref, found in there.items()
            if found is None or (found.roots, found.kind) != (wanted.roots, wanted.kind)
        ]
        if not lacking and wanted.kind != ARTIFACT:
            return False
        presence = self._presence
        sent = tree_copy.send(operation, closure, watched, presence=presence, meter=meter, context=context)
        if not (lacking or sent):
            return False
        # An Artifact may be named there and lack parts (views.OPTIONAL_PARTS): then it is named once more.
        lacking = lacking or list(refs)
        with watched.watching():  # AC-64: only now
            tree_of = watched.foreign(lambda: tree_message(closure, presence.objects))
            remote.index.publish(lacking, wanted, tree=tree_of)
        return True
