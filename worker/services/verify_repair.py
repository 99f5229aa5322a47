"""`verify --repair`: what was found is looked at again and mended (safety.md section 5).

Everything that removes happens under the maintenance lease, each step with a look of its own: what was
found without the lease is only where to look. Others who wait for the lease get it every few seconds.
Content goes first, for what is whole decides what is needed: quarantine, fetch again, and withdraw the refs
of what is gone for good; orphans go last, and only while everything can be read (I9).
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, CaskeeperError, DigestMismatch, InvalidRequest, VolumeFailed
from worker.closure import walk
from worker.services import findings as kinds
from worker.services.eviction import Evictor
from worker.services.plan import EVICT, unranked
from worker.services.uploaded import evict_uploaded, find_uploaded
from worker.services.verify_content import has_time, look
from worker.services.verify_single import SingleFiles
from worker.services.verify_unreadable import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from caskeeper.artifact import Ref
    from worker.protocols import Context
    from worker.services.cleanup import Cleanup
    from worker.services.desk import OperationDesk
    from worker.services.findings import Findings, Found
    from worker.services.healing import Healing
    from worker.services.maintenance import Maintenance, Run
    from worker.services.plan import Inventory
    from worker.services.pull import Pull
    from worker.services.verify_files import FilesLook
    from worker.services.verify_refs import RefsLook

T = TypeVar("T")

#: How long the lease is held before others get it, and how long they have to take it.
HOLD_S = 5.0
PAUSE_S = 0.2
#: How long a repair waits for operations that were alive when content was taken away. One that lasts longer
#: may still publish a ref that names it; whoever reads that heals it.
AGAIN_S = 300.0
_SWEEP = "a full sweep"
_CONTENT = (kinds.DAMAGED, kinds.DAMAGED_EXECUTABLE)
_SINGLE = (
    kinds.MODE,
    kinds.TIME,
    kinds.KIND,
    kinds.STALE_STAGING,
    kinds.STALE_TRASH,
)
#: Whose place is a ref, or none.
_NAMED = (kinds.DANGLING, kinds.UNREADABLE, kinds.LIST, kinds.STATE)
_ORPHANS = (kinds.ORPHAN, kinds.ORPHAN_EXECUTABLE, kinds.ORPHAN_LIST, kinds.ORPHAN_EXTRACT)


class Repair:
    """One repair of what one look has found."""

    def __init__(
        self,
        maintenance: Maintenance,
        desk: OperationDesk,
        cleanup: Cleanup,
        healing: Healing,
        pull: Pull,
        *,
        refs: RefsLook,
        files: FilesLook,
        findings: Findings,
        context: Context,
        look_again: Callable[[], Findings],
    ) -> None:
        """``look_again`` looks without hashing: for orphans, once it can be told what is needed."""
        self._look_again = look_again
        self._maintenance, self._desk, self._cleanup, self._healing = maintenance, desk, cleanup, healing
        self._volume, self._layout = maintenance.volume, maintenance.volume.layout
        self._refs, self._files, self._findings, self._context = refs, files, findings, context
        self._single = SingleFiles(maintenance)
        self._alive: set[str] = set()
        self._gone: set[str] = set()
        self._unasked: CaskeeperError | None = None
        self._needed: dict[str, set[Ref]] = {}
        self.withdrawn: set[Ref] = set()
        self._unreadable = Unreadable(maintenance, healing, pull, findings=findings, context=context)

    def run(self) -> None:
        """All of it. Raises Busy during the waiting period after a loss of Redis, LeaseLost."""
        # Modes come first: what they kept from being read is looked at again by what follows.
        singles = sorted(self._findings.of(*_SINGLE), key=lambda found: _SINGLE.index(found.kind))
        self._each(singles, self._single.mend)
        self._unreadable.run(self._each)
        self.withdrawn.update(self._unreadable.unknown)
        self._files.hash_unread()
        self._heal()
        self._withdraw()
        self._note_healed()
        self._each(
            (found for found in self._findings.of(kinds.KIND) if found.hash_hex), self._single.put_aside
        )
        for found in self._findings.of(kinds.LIST):
            self._context.check()
            self._rewrite(found)
        self._sweep()
        for found in self._findings.all:
            found.repaired = found.repaired or self._is_mended(found)
        self._tell_withdrawn()

    def _each(self, items: Iterable[T], do: Callable[[Run, T], None]) -> None:
        """``do`` for each of them under the lease, which others get in between."""
        self._each_within(items, lambda run: nullcontext(partial(do, run)))

    def _each_within(
        self, items: Iterable[T], doing: Callable[[Run], AbstractContextManager[Callable[[T], None]]]
    ) -> None:
        """As ``_each``, with what ``doing`` gives; that ends with each hold of the lease."""
        todo = deque(items)
        while todo:
            with self._maintenance.run("verify", check=self._context.check) as run:
                self._cleanup.know_the_size(run)
                until = time.monotonic() + HOLD_S
                with doing(run) as do:
                    while todo:
                        self._context.check()
                        run.check()
                        do(todo.popleft())
                        if time.monotonic() >= until:
                            break
            if todo:
                time.sleep(PAUSE_S)

    def _evictor(self, run: Run) -> Evictor:
        return Evictor(run.trash, self._maintenance.refs, horizon_ns=run.horizon_ns)

    def _give_back(self, run: Run, freed_bytes: int) -> None:
        self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed_bytes)

    # -- content -----------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """Take what is damaged, fetch what some ref needs, withdraw the refs of what nobody has."""
        bad = list(self._findings.of(*_CONTENT))
        bad += [found for found in self._findings.of(kinds.KIND) if found.hash_hex]
        if not bad and not self._findings.missing:
            return
        needed = self._refs.naming({found.hash_hex for found in bad if found.kind == kinds.DAMAGED})
        for digest, refs in self._findings.missing.items():
            needed.setdefault(digest, set()).update(refs)
        self._needed = {digest.hash: refs for digest, refs in needed.items()}
        # As long as this operation lives, no cleanup withdraws what is about to be fetched again.
        with self._desk.writer("verify", "content", self._context) as operation:
            self._each_within(bad, self._quarantining)
            self._alive = self._folders() - {operation.id}
            self._fetch(needed)

    @contextmanager
    def _quarantining(self, run: Run) -> Iterator[Callable[[Found], None]]:
        """Checkouts with links to it go at the end of each hold: one pass over the refs for all of them."""
        with self._tells("not taken away"), self._healing.taking(run) as take:

            def quarantine(found: Found) -> None:
                with self._tells("not taken away"):  # the disk does not even give it to be hashed
                    if take(Digest(found.hash_hex, 0)):
                        found.done = "quarantined"

            yield quarantine

    @contextmanager
    def _tells(self, what: str) -> Iterator[None]:
        try:
            yield
        except VolumeFailed as trouble:
            self._findings.remark(f"{what}: {trouble}")

    def _fetch(self, needed: dict[Digest, set[Ref]]) -> None:
        """A Directory that came back may name more that is missing: as long as something comes, go on."""
        refs = set().union(*needed.values())
        missing = set(needed)
        while missing:
            projects = sorted({ref.project for ref in refs})
            came, self._unasked = self._healing.restore(missing, projects, self._context)
            left = self._still_missing(refs) | (missing - came)
            if not came or left == missing:
                break
            missing = left
        self._gone = {digest.hash for digest in missing}

    def _still_missing(self, refs: Iterable[Ref]) -> set[Digest]:
        missing: set[Digest] = set()
        for ref in refs:
            record = self._maintenance.refs.record_at(self._layout.ref(ref))
            if record is not None:
                missing |= self._refs.check(ref, record)
        return missing

    def _withdraw(self) -> None:
        """At once, and again: an operation that relied on content before it was taken may publish later.

        Each turn takes the lease, which also fences what is dead, and as for a recount spares nothing that
        does not register: only who really lives is waited for.
        """
        if self._gone and self._unasked is not None:
            self._findings.remark(f"not withdrawn, for a remote could not be asked: {self._unasked}")
            return
        until, pause_s = time.monotonic() + AGAIN_S, PAUSE_S
        while self._gone:
            is_last = not self._alive & self._folders()
            with self._maintenance.run("verify", spare_young=False, check=self._context.check) as run:
                self._cleanup.know_the_size(run)
                self.withdrawn.update(self._healing.withdraw(run, self._gone))
            if is_last:
                return
            if time.monotonic() > until:
                self._findings.remark("an operation that began before the repair still runs: verify again")
                return
            if self._alive & self._folders():
                self._context.check()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, self._maintenance.leases.operation_s / 3)

    def _note_healed(self) -> None:
        """For the refs of which everything is here again."""
        back = {ref for hash_hex, refs in self._needed.items() if hash_hex not in self._gone for ref in refs}
        self._healing.note_healed(back - self.withdrawn)

    def _folders(self) -> set[str]:
        with os.scandir(self._layout.staging) as listing:
            return {entry.name for entry in listing if entry.is_dir(follow_symlinks=False)}

    # -- closure lists -----------------------------------------------------------------------------------

    def _rewrite(self, found: Found) -> None:
        """As a writer: the list is derived, so nothing is lost by writing it again."""
        parts, ref = self._maintenance, found.ref
        record = None if ref is None else parts.refs.record_at(self._layout.ref(ref))
        if ref is None or record is None:
            return
        with self._desk.writer("verify", str(ref), self._context) as operation:
            for root in record.roots:
                if root.hash == found.hash_hex and operation.claim([root]):
                    try:
                        closure = walk(root, record.scope, parts.objects.directory)
                    except (BlobMissing, DigestMismatch, InvalidRequest) as trouble:
                        self._findings.remark(f"no closure list for ref {ref}: {trouble.what}")
                        return
                    parts.closures.write(operation.staging, closure)
                    found.done = "written anew"

    # -- orphans -----------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """What no ref needs and nobody has used since the horizon; each slice judges by its own look."""
        if self._unreadable.unknown:
            self._findings.remark(
                f"no orphan was taken: what ref {self._unreadable.unknown[0]} consisted of is not known; "
                "commit it again before the next cleanup or repair"
            )
            return
        if self._refs.doubt or self._gone:  # what belonged to refs that are gone now is garbage too
            known = {found.where for found in self._findings.all}
            again = self._look_again()
            self._findings.all += [found for found in again.of(*_ORPHANS) if found.where not in known]
        todo = deque(self._findings.of(kinds.ORPHAN, kinds.ORPHAN_EXECUTABLE))
        groups = any(self._findings.of(kinds.ORPHAN_LIST, kinds.ORPHAN_EXTRACT))
        more = True
        while todo or more:
            with self._maintenance.run("sweep", check=self._context.check) as run:
                self._cleanup.know_the_size(run)
                try:
                    inventory = unranked(self._maintenance, horizon_ns=run.horizon_ns)
                except VolumeFailed as doubt:
                    self._findings.remark(f"no orphan was taken: {doubt}")
                    return
                evictor = self._evictor(run)
                if more:
                    self._take_unnamed(run, evictor, inventory, groups=groups)
                    more = False
                self._take_objects(run, evictor, inventory, todo)
            if todo:
                time.sleep(PAUSE_S)

    def _take_unnamed(self, run: Run, evictor: Evictor, inventory: Inventory, *, groups: bool) -> None:
        """Uploads without a name, and the groups that have lost their last ref."""
        evict_uploaded(
            evictor,
            find_uploaded(self._volume, inventory, horizon_ns=run.horizon_ns),
            give_back=lambda freed_bytes: self._give_back(run, freed_bytes),
            check=run.check,
        )
        unnamed = [group for group in inventory.groups if groups and not group.entries and not group.young]
        inventory.settle(unnamed)
        for group in unnamed:
            self._context.check()
            group.action = EVICT
            self._cleanup.evict_groups(run, evictor, inventory, [group], why=_SWEEP)

    def _take_objects(self, run: Run, evictor: Evictor, inventory: Inventory, todo: deque[Found]) -> None:
        until = time.monotonic() + HOLD_S
        while todo:
            self._context.check()
            run.check()
            found = todo.popleft()
            if inventory.is_needed(bytes.fromhex(found.hash_hex)):
                found.done, found.repaired = "needed again", True
            else:
                freed, kept = evictor.take_object(found.hash_hex)
                self._give_back(run, freed)
                if kept:
                    found.done, found.repaired = "in use again", True
            if time.monotonic() >= until:
                break

    def _tell_withdrawn(self) -> None:
        """What cost an artifact is not mended by that."""
        for found in self._findings.of(kinds.DAMAGED, kinds.KIND):
            lost = self._needed.get(found.hash_hex, set()) & self.withdrawn
            if lost:
                found.repaired, found.withdrawn = False, tuple(sorted(map(str, lost)))
                found.done = "it was quarantined, and no remote gave it"

    def _is_mended(self, found: Found) -> bool:
        status = None if found.kind in _NAMED else look(found.where)
        match found.kind:
            case kinds.MODE:
                return status is None or stat.S_IMODE(status.st_mode) == self._single.mode_of(found.where)
            case kinds.TIME:
                return status is None or has_time(status)
            case kinds.KIND:
                return not found.withdrawn and (status is None or stat.S_ISREG(status.st_mode))
            case kinds.DAMAGED | kinds.DAMAGED_EXECUTABLE:
                stored = self._files.reader.hash(found.where, found.hash_hex)
                if stored is not None and stored.right:
                    found.done = "fetched anew"
                return stored is None or stored.right is True
            case kinds.DANGLING | kinds.UNREADABLE | kinds.LIST:
                return self._is_ref_mended(found)
            case kinds.STATE:
                return self._maintenance.coordination.state().ready
        if found.kind in _ORPHANS:
            found.done = "removed"
        return status is None and found.kind not in {kinds.STRANGER, kinds.PIN, kinds.ESTIMATE}

    def _is_ref_mended(self, found: Found) -> bool:
        assert found.ref is not None
        path = self._layout.ref(found.ref)
        try:
            record = self._maintenance.refs.record_at(path)
        except CaskeeperError:
            return False
        if record is None:
            if found.ref in self.withdrawn:
                found.withdrawn, found.done = (str(found.ref),), found.done or "no remote gave what it needs"
                return False
            found.done = found.done or "gone meanwhile"
            return look(path) is None
        if found.kind == kinds.LIST:
            return bool(found.done)
        if self._refs.check(found.ref, record):
            return False
        found.done = found.done or "whole again"
        return not any(
            tree.trouble
            for root in record.roots
            if (tree := self._refs.trees.get((root.hash, record.scope.id))) is not None
        )
