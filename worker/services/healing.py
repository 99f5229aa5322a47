"""Self-healing: damaged content is taken away, brought back where it can be, else the ref is gone (R11).

Promises: nothing is taken but a file whose bytes were hashed and found wrong, by the holder of the
maintenance lease; a ref goes only while something it needs is missing and nobody works with it. Every step
may be repeated, and after a crash between two of them the next reader or ``verify`` goes on.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING, TypeVar

from caskeeper.contract import Progress
from caskeeper.coordination.events import HEALED
from caskeeper.errors import ArtifactNotFound, Busy, CaskeeperError, Transient, VolumeFailed
from worker.services.content import content_of
from worker.services.quarantined import drop_excess
from worker.services.restoring import Restored
from worker.services.subjects import Subjects
from worker.services.trash import (
    EXECUTABLE,
    OBJECT,
    STRANGE,
    aside,
    delete_tree,
    open_up,
    put_back_or_refresh,
)
from worker.services.withdrawal import Withdrawal
from worker.store.damage import ObjectDamaged, Verdict, examine, looked_at, missing, trouble_of
from worker.store.failures import failure
from worker.store.quarantine import Quarantine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance, Run
    from worker.services.owners import Owner
    from worker.services.restoring import Restore
    from worker.store.damage import ObjectMissing

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: How often one request is healed and begun again.
ROUNDS = 5
#: How often a damaged file that its readers put back out of the trash is taken again.
_ATTEMPTS = 8
#: How long a withdrawal waits for others who still read what is broken.
_CLAIMED_S = 10.0
_MOMENT_S = 0.2


class Healing:
    """Repairs what readers and ``verify`` find. Its methods may be called from several threads."""

    def __init__(self, maintenance: Maintenance, restore: Restore) -> None:
        self._maintenance = maintenance
        self._restore = restore
        self._volume = maintenance.volume
        self._layout = maintenance.volume.layout
        self._objects = maintenance.objects
        self._quarantine = Quarantine(maintenance.volume)
        self._withdrawal = Withdrawal(maintenance)
        self.owners = self._withdrawal.owners

    # -- taking away what is damaged -------------------------------------------------------------------

    def quarantine(self, run: Run, digest: Digest, *, found: os.stat_result | None = None) -> bool:
        """Take the object of this hash and its executable copy away, each if its bytes are wrong.

        ``found``: the inode that was seen to be bad; when neither is that one any more, nothing happens.
        True: something was taken. It is hashed here once more: inode numbers are used again. Shared
        checkouts that hold links to it go with it. Raises LeaseLost, VolumeFailed.
        """
        if found is not None and not any(_is_at(path, found) for _kind, path in self._places(digest)):
            return False
        return bool(self.quarantine_all(run, [digest]))

    def quarantine_all(self, run: Run, digests: Iterable[Digest]) -> set[Digest]:
        """As ``quarantine``, for many: those of which something was taken."""
        taken: set[Digest] = set()
        linked: set[str] = set()
        for digest in dict.fromkeys(digests):
            for kind, path in self._places(digest):
                links = self._take_damaged(run, kind, path, digest)
                if links is not None:
                    taken.add(digest)
                    if links > 1:
                        linked.add(digest.hash)
        if linked:
            self._drop_checkouts(run, linked)
        if taken:
            drop_excess(run, self._maintenance)
        return taken

    def _places(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        return (
            (OBJECT, self._layout.object(digest.hash)),
            (EXECUTABLE, self._layout.executable(digest.hash)),
        )

    def _take_damaged(self, run: Run, kind: str, path: str, digest: Digest) -> int | None:
        """How many names it had; None: nothing damaged stands there."""
        for _attempt in range(_ATTEMPTS):
            run.check()
            with looked_at(path, digest.hash, check=run.check) as look:
                if look.verdict is not Verdict.DAMAGED or look.status is None:
                    return None
                ours = stat.S_ISREG(look.status.st_mode)
                taken = run.trash.place(kind if ours else STRANGE, digest.hash)
                if not self._volume.take(path, taken):
                    continue
                there = _status(taken)
                if there is None:
                    continue  # a reader found it in the trash and put it back
                if not look.is_about(there):
                    self._put_back(run, taken, path)
                    continue
                kept = self._quarantine.keep(taken, digest.hash) if ours else bool(aside(self._volume, taken))
                if not kept and not self._discard(run, taken):
                    continue  # put back at the last moment
                log.warning(
                    "object damaged",
                    extra={"hash": digest.hash, "path": path, "bytes": there.st_size, "kept": kept},
                )
                return there.st_nlink
        raise Busy("a damaged file is put back again and again", path)

    def _give_back(self, run: Run, freed_bytes: int) -> None:
        if freed_bytes:
            self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed_bytes)

    def _put_back(self, run: Run, taken: str, path: str) -> None:
        """It was written anew between the look and the rename. Where yet another one stands by now, ours is
        one too many; that one is made young first, for somebody may rely on ours.
        """  # noqa: D205 -- one thought
        if not put_back_or_refresh(self._volume, taken, path):
            self._discard(run, taken)

    def _discard(self, run: Run, taken: str) -> bool:
        """False: it left the trash."""
        was = self._volume.unlink(taken)
        if was is not None and was.st_nlink == 1:
            self._give_back(run, self._volume.charge(was.st_size))
        return was is not None

    def _drop_checkouts(self, run: Run, hashes: Collection[str]) -> None:
        """The shared checkouts of refs that need one of ``hashes``: they hold links to the same inode."""
        freed = 0
        for owner in self.owners.of(hashes):
            for root in owner.record.roots:
                path = self._layout.extract(owner.ref, root.hash)
                if os.path.isdir(path) and not os.path.islink(path):
                    run.check()
                    open_up(self._volume, path)
                    taken = run.trash.fresh()
                    if self._volume.take(path, taken):
                        freed += delete_tree(self._volume, taken)
                        log.warning("checkout damaged", extra={"ref": str(owner.ref), "path": path})
        self._give_back(run, freed)

    # -- withdrawing what cannot be read ---------------------------------------------------------------

    def withdraw(self, run: Run, digests: Collection[str]) -> list[Ref]:
        """Withdraw every ref that needs one of these hashes whose object is missing; those that are gone.

        What somebody works with stays for now (worker.services.withdrawal). Raises LeaseLost.
        """
        return self._withdrawal(run, digests)

    # -- bringing back ---------------------------------------------------------------------------------

    def restore(self, digests: Collection[Digest], projects: Collection[str], context: Context) -> Restored:
        """Fetch content by digest from the projects' remotes.

        A writer of its own, so nobody may hold the lease meanwhile. What no remote has stays missing, and
        a remote's trouble is logged. Raises the own side's: NoSpace, CacheTooFull, LeaseLost.
        """
        restored = self._restore(list(digests), projects, context) if digests else Restored(set())
        for digest in digests:
            log.info("restored" if digest in restored.back else "not restored", extra={"hash": digest.hash})
        return restored

    def note_healed(self, refs: Iterable[Ref]) -> None:
        """Into the log of events: all that was missing or damaged of these refs is here again."""
        names = sorted(map(str, refs))
        if names:
            why = "a part of it was damaged or missing, and was fetched anew"
            self._maintenance.coordination.events.note(HEALED, names, why=why)

    def _note_back(self, owners: Iterable[Owner], back: Collection[str]) -> None:
        self.note_healed(owner.ref for owner in owners if owner.hashes <= set(back))

    # -- the whole sequence ----------------------------------------------------------------------------

    def around(self, work: Callable[[], Result], subjects: Subjects, context: Context) -> Result:
        """``work``, once more after each healing of what it met; at most ``ROUNDS`` times.

        Called without a claim of its own, so ``work`` has ended its operation when it raises.
        """
        owed: set[Digest] = set()
        healed: ObjectDamaged | ObjectMissing | None = None
        for _round in range(ROUNDS):
            try:
                result = work()
            except ArtifactNotFound as gone:
                if healed is None:
                    raise
                how = "damaged" if isinstance(healed, ObjectDamaged) else "missing"
                what = f"{healed.digest} was {how}, and no remote has it: its refs were withdrawn"
                raise ArtifactNotFound(what, gone.where, gone.way_out) from gone
            except CaskeeperError as error:
                # VolumeFailed: a tree that a cleanup cannot look through. What else is transient passes.
                passing = isinstance(error, Transient) and not isinstance(error, VolumeFailed)
                healed = None if passing else trouble_of(error)
                if healed is None:
                    raise
                if not self.heal(healed, context, subjects=subjects) and healed is error:
                    raise
                if isinstance(healed, ObjectDamaged) and healed.digest is not None:
                    owed.add(healed.digest)
                continue
            for digest in owed:
                self._settle(digest, subjects, context)
            return result
        return work()

    def _settle(self, digest: Digest, subjects: Subjects, context: Context) -> None:
        """What was taken away for a request that is done by now."""
        if self._withdrawal.is_missing(digest.hash):  # the request did not need it after all
            self.heal(missing(digest, ""), context)
        elif subjects.writes:
            self._note_back(self.owners.of({digest.hash}), {digest.hash})

    def heal(
        self, trouble: ObjectDamaged | ObjectMissing, context: Context, *, subjects: Subjects | None = None
    ) -> bool:
        """All that is wrong with what was read: taken away, brought back, or its refs withdrawn.

        True: the request may be tried again. False: what it misses is no part of anything here. Raises
        Busy while somebody works with a ref that cannot be read, and what ``restore`` does.
        """
        subjects = subjects or Subjects()
        context.progress(Progress(phase="healing"))
        suspects = [] if trouble.digest is None else [trouble.digest]
        good: set[Digest] = set()
        for _round in range(ROUNDS):
            damaged, lost = self._look_over(suspects, subjects.refs, good, context)
            if not damaged and not lost:
                return True
            # Older than anything it puts into quarantine: until it ends, no cleanup withdraws for that.
            with self._restore.desk.writer("heal", suspects[0].hash if suspects else "", context):
                if damaged:
                    with self._maintenance.run("heal", check=context.check) as run:
                        self.quarantine_all(run, damaged)
                    if subjects.writes:
                        return True
                lacking = [one for one in (*lost, *damaged) if self._withdrawal.is_missing(one.hash)]
                owners = self.owners.of({digest.hash for digest in lacking})
                if not owners and not damaged:
                    return bool(subjects.refs)  # else no part of anything here; its refs may just be gone
                for digest in lost:
                    log.warning("object missing", extra={"hash": digest.hash, "refs": len(owners)})
                projects = {*subjects.projects, *(owner.ref.project for owner in owners)}
                back, unasked = self.restore(lacking, projects, context)
                self._note_back(owners, {digest.hash for digest in back})
            gone = {digest.hash for digest in lacking if digest not in back}
            if gone and unasked is not None:
                raise type(unasked)(
                    f"{min(gone)} is {'damaged' if damaged else 'missing'} here, and a remote that may have "
                    f"it could not be asked: {unasked.what}",
                    unasked.where,
                    unasked.way_out,
                ) from unasked
            if gone:
                self._withdraw_all(gone, context)
                return True
            suspects = []
        return True

    def mend(self, digest: Digest, context: Context, *, taken: Callable[[], None] = lambda: None) -> None:
        """What a server can do: take it away, tell ``taken`` of that, bring it back. Withdraws nothing.

        A cleanup does that once all who may upload it again have ended.
        """
        with self._restore.desk.writer("heal", digest.hash, context):
            with self._maintenance.run("heal", check=context.check) as run:
                was_damaged = self.quarantine(run, digest)
            taken()
            if was_damaged and self._withdrawal.is_missing(digest.hash):
                owners = self.owners.of({digest.hash})
                restored = self.restore([digest], {owner.ref.project for owner in owners}, context)
                self._note_back(owners, {one.hash for one in restored.back})

    def _look_over(
        self, suspects: Sequence[Digest], refs: Sequence[Ref], good: set[Digest], context: Context
    ) -> tuple[list[Digest], list[Digest]]:
        """Hash everything that was not found ``good`` before. (damaged, missing), each children first."""
        damaged: list[Digest] = []
        lost: list[Digest] = []
        content = (digest for ref in refs for digest in content_of(ref, self._maintenance))
        for digest in dict.fromkeys((*content, *suspects)):
            if digest in good:
                continue
            context.check()
            verdict = self._objects.examine(digest, check=context.check)
            copy = examine(self._layout.executable(digest.hash), digest.hash, check=context.check)
            if Verdict.DAMAGED in {verdict, copy.verdict}:
                damaged.append(digest)
            elif verdict is Verdict.GONE:
                lost.append(digest)
            else:
                good.add(digest)
        return damaged, lost

    def _withdraw_all(self, hashes: Collection[str], context: Context) -> None:
        """Until no ref needs what is missing: also those published meanwhile by who relied on it before."""
        deadline = time.monotonic() + _CLAIMED_S
        while True:
            with self._maintenance.run("heal", check=context.check) as run:
                self.withdraw(run, hashes)
            left = self.owners.of({one for one in hashes if self._withdrawal.is_missing(one)})
            if not left:
                return
            if time.monotonic() > deadline:
                raise Busy("what it needs is missing, and somebody works with it", f"ref {left[0].ref}")
            context.check()
            time.sleep(_MOMENT_S)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error


def _is_at(path: str, found: os.stat_result) -> bool:
    there = _status(path)
    return there is not None and (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
