"""Import: take over the artifacts of another cache folder of BuildStream 1.x, which is left as it is.

Each tree is an operation of its own, least recently used first: what is taken over stays taken over
whatever becomes of the rest, running again goes on (I8), and a small quota keeps the newest.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import ImportedRef, ImportResult, Progress
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from caskeeper.roots import below_roots
from worker.services import transfer
from worker.services.meter import Meter
from worker.services.takeover import Look
from worker.store.damage import trouble_of
from worker.store.old_cache import OldCache
from worker.store.refs import RefRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from caskeeper.contract import ImportRequest
    from caskeeper.digest import Digest
    from worker.closure import Closure
    from worker.protocols import Context
    from worker.services.desk import OperationDesk
    from worker.services.naming import Naming
    from worker.services.presence import Presence
    from worker.store.old_cache import OldRef

log = logging.getLogger(__name__)

IMPORTED, PRESENT, KEPT, DAMAGED = "imported", "present", "kept", "damaged"
_BUILDTREE = "buildtree"
#: What is wrong with the source: the other trees go on.
_DAMAGE = (BlobMissing, DigestMismatch, InvalidRequest)


class _Tree(NamedTuple):
    """One root there, its refs, and what of it is there; None = not even its files."""

    root: Digest
    refs: tuple[Ref, ...]
    closure: Closure | None


class Import:
    """The verb ``artifacts.import``."""

    def __init__(
        self, desk: OperationDesk, naming: Naming, presence: Presence, *, roots: Sequence[str]
    ) -> None:
        self._desk = desk
        self._naming = naming
        self._presence = presence
        self._roots = roots

    def __call__(self, request: ImportRequest, context: Context) -> ImportResult:
        """Copy and verify every tree there, and bind its refs in the scope that is there.

        A ref that names another tree here is kept. Raises InvalidRequest for a folder that is no such
        cache or lies outside of the roots; NoSpace, CacheTooFull and the like: what was taken over stays.
        """
        source = below_roots(request.path, self._roots, where="DIR")
        old = OldCache(source)
        for folder in (old.layout.refs, old.layout.objects):
            below_roots(folder, self._roots, where="DIR")
        refs, strangers = old.refs()
        outcomes = [
            ImportedRef(ref=path, outcome=DAMAGED, reason=f"{reason}, and was passed over")
            for path, reason in strangers
        ]
        todo: list[tuple[_Tree, Closure]] = []
        for tree in self._look(old, refs, context):
            wanted = [one for one in (self._judge(ref, tree) for ref in tree.refs) if one is not None]
            outcomes += wanted
            left = tuple(ref for ref in tree.refs if str(ref) not in {one.ref for one in wanted})
            if left and tree.closure is not None:
                todo.append((tree._replace(refs=left), tree.closure))
        meter = self._expected(todo, context)
        if not request.dry_run:
            for tree, closure in todo:
                outcomes += self._take(old, tree, closure, context, meter)
        else:
            outcomes += [_outcome(ref, IMPORTED, closure) for tree, closure in todo for ref in tree.refs]
        blobs, size_bytes = meter.total if request.dry_run else meter.done
        return ImportResult(dry_run=request.dry_run, artifacts=tuple(outcomes), blobs=blobs, bytes=size_bytes)

    def _look(self, old: OldCache, refs: Sequence[OldRef], context: Context) -> list[_Tree]:
        """The trees there; one with several refs is as old as the last use of any."""
        by_root: dict[Digest, list[Ref]] = {}
        for one in refs:
            names = by_root.pop(one.root, [])
            by_root[one.root] = [*names, one.ref]
        look = Look(old)
        trees: list[_Tree] = []
        for root, names in by_root.items():
            context.check()
            context.progress(Progress(phase="looking", done_objects=len(trees), total_objects=len(by_root)))
            trees.append(_Tree(root, tuple(names), look.at(root)))
        return trees

    def _judge(self, ref: Ref, tree: _Tree) -> ImportedRef | None:
        """What is said of a ref without copying anything; None = it is to be taken over."""
        if tree.closure is None:
            return ImportedRef(
                ref=str(ref), outcome=DAMAGED, reason="a part of it is missing or damaged there"
            )
        record = self._naming.refs.read(ref)
        if record is None:
            return None
        if record.roots != (tree.root,):
            reason = "it names another tree here: `caskeeper remove` it first to have this one"
            return ImportedRef(ref=str(ref), outcome=KEPT, reason=reason)
        if record.scope.whole or not tree.closure.scope.whole:
            return ImportedRef(ref=str(ref), outcome=PRESENT, excluded=record.scope.excluded)
        return None

    def _expected(self, todo: Sequence[tuple[_Tree, Closure]], context: Context) -> Meter:
        wanted = list(dict.fromkeys(digest for _tree, closure in todo for digest in closure.digests))
        meter = Meter(context, "import")
        stat = self._presence.objects.stat
        meter.expect(wanted, [one for one in wanted if one.size_bytes and stat(one.hash) is None])
        return meter

    def _take(
        self, old: OldCache, tree: _Tree, closure: Closure, context: Context, meter: Meter
    ) -> list[ImportedRef]:
        try:
            self._copy(old, tree, closure, context, meter)
        except _DAMAGE as damage:
            if trouble_of(damage) is not None:
                raise  # a file here, which is healed before the next try
            log.warning("not imported", extra={"ref": str(tree.refs[0]), "reason": str(damage)})
            reason = f"{damage.what} [{damage.where}]" if damage.where else damage.what
            return [ImportedRef(ref=str(ref), outcome=DAMAGED, reason=reason) for ref in tree.refs]
        return [_outcome(ref, IMPORTED, closure) for ref in tree.refs]

    def _copy(self, old: OldCache, tree: _Tree, closure: Closure, context: Context, meter: Meter) -> None:
        """As a pull stores: files, then Directories children first (I2), the list, the refs (I3)."""
        with self._desk.writer("import", str(tree.refs[0]), context) as operation:
            context = context._replace(check=operation.check)
            missing = transfer.find_missing(operation.blobs, closure.digests, context)
            charge = self._desk.volume.charge
            operation.reserve(sum(charge(digest.size_bytes) for digest in missing))
            folders, lacking = set(closure.directories), set(missing)
            files = [digest for digest in missing if digest not in folders]
            transfer.copy(old, operation.blobs, files, context=context, meter=meter)
            ordered = [digest for digest in closure.directories if digest in lacking]
            transfer.copy(old, operation.blobs, ordered, context=context, meter=meter, ordered=True)
            meter.show()
            self._presence.closures.write(operation.staging, closure)
            record = RefRecord.fresh((tree.root,), origin="import", scope=closure.scope)
            self._naming.publish(operation, tree.refs, record)


def _outcome(ref: Ref, outcome: str, closure: Closure) -> ImportedRef:
    """A build tree is left out as a rule (AC-74); that anything else is missing there is said."""
    excluded = closure.scope.excluded
    gaps = ", ".join(name for name in excluded if name != _BUILDTREE)
    reason = f"without {gaps}, of which a part is missing there" if gaps else ""
    return ImportedRef(ref=str(ref), outcome=outcome, reason=reason, excluded=excluded)
