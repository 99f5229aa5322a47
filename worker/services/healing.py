"""Self-healing: damaged content is taken away, brought back where it can be, else the ref is gone (R11).

Promises: what worker.services.quarantining does; a ref goes only while something it needs is missing and
nobody works with it. Every step may be repeated, and after a crash between two of them the next reader or
``verify`` goes on.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from caskeeper.contract import ComputeSizeRequest, Progress
from caskeeper.coordination.events import HEALED
from caskeeper.errors import (
    ArtifactNotFound,
    Busy,
    CacheTooFull,
    CaskeeperError,
    NoSpace,
    Transient,
    VolumeFailed,
)
from worker.services.content import content_of
from worker.services.quarantining import Quarantining
from worker.services.recount import Recount
from worker.services.restoring import Restored
from worker.services.subjects import Subjects
from worker.services.withdrawal import Withdrawal
from worker.store.damage import ObjectDamaged, Verdict, examine, missing, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance, Run
    from worker.services.operations import Operation
    from worker.services.owners import Owner
    from worker.services.restoring import Restore
    from worker.store.damage import ObjectMissing

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: How often one request is healed and begun again.
ROUNDS = 5
#: So many refs that nobody has asked for are kept while a part of all of them is fetched again.
_KEPT = 64
#: How long a withdrawal waits for others who still read what is broken.
_CLAIMED_S = 10.0
_MOMENT_S = 0.2


class Healed(NamedTuple):
    """What came of one healing; true when the request may be tried ``again``.

    Else what it misses is no part of anything here. ``withdrawn``: the refs that this healing has withdrawn.
    """

    again: bool
    withdrawn: frozenset[Ref] = frozenset()

    def __bool__(self) -> bool:
        """Whether the request may be tried again."""
        return self.again


AGAIN = Healed(again=True)


class Healing:
    """Repairs what readers and ``verify`` find. Its methods may be called from several threads."""

    def __init__(self, maintenance: Maintenance, restore: Restore) -> None:
        self._maintenance = maintenance
        self._restore = restore
        self._recount = Recount(maintenance)
        self._layout = maintenance.volume.layout
        self._objects = maintenance.objects
        self._withdrawal = Withdrawal(maintenance)
        self.owners = self._withdrawal.owners
        self._away = Quarantining(maintenance, self.owners)

    # -- taking away what is damaged -------------------------------------------------------------------

    def quarantine(self, run: Run, digest: Digest) -> bool:
        """Take the object of this hash and its executable copy away, each if its bytes are wrong.

        True: something was taken. Whatever is said of it, it is hashed here once more. Shared checkouts
        that hold links to it go with it. Raises LeaseLost, VolumeFailed.
        """
        with self._away.taking(run) as take:
            return take(digest)

    def taking(self, run: Run) -> AbstractContextManager[Callable[[Digest], bool]]:
        """As ``quarantine``, for many: what it gives takes one; their checkouts go together at the end."""
        return self._away.taking(run)

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
        if not digests:
            return Restored(set())
        try:
            restored = self._restore(list(digests), projects, context)
        except (NoSpace, CacheTooFull):
            if not self._counts_too_much(context):
                raise
            restored = self._restore(list(digests), projects, context)
        for digest in digests:
            log.info("restored" if digest in restored.back else "not restored", extra={"hash": digest.hash})
        return restored

    def _counts_too_much(self, context: Context) -> bool:
        """What went behind the cache's back was still counted, in the way of what replaces it."""
        try:
            size = self._recount(ComputeSizeRequest(), context)
        except Busy:
            return False
        return size.used_bytes < size.estimate_bytes

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
        withdrawn: set[Ref] = set()
        healed: ObjectDamaged | ObjectMissing | None = None
        for _round in range(ROUNDS):
            try:
                result = work()
            except ArtifactNotFound as gone:
                if healed is None:
                    raise
                if withdrawn and not withdrawn.isdisjoint(subjects.refs or withdrawn):
                    how = "damaged" if isinstance(healed, ObjectDamaged) else "missing"
                    what = f"{healed.digest} was {how}, and no remote has it: its refs were withdrawn"
                    raise ArtifactNotFound(what, gone.where, gone.way_out) from gone
                if not self._are_here(subjects.refs, context):
                    raise
                continue
            except CaskeeperError as error:
                healed = _met(error)
                if healed is None:
                    raise
                done = self.heal(healed, context, subjects=subjects)
                if not done and healed is error:
                    raise
                withdrawn.update(done.withdrawn)
                if isinstance(healed, ObjectDamaged) and healed.digest is not None:
                    owed.add(healed.digest)
                continue
            for digest in owed:
                self._settle(digest, subjects, context)
            return result
        try:
            return work()
        except CaskeeperError as error:
            if _met(error) is None:
                raise
            raise Busy("it is damaged or missing again as often as it is healed", error.where) from error

    def _are_here(self, refs: Sequence[Ref], context: Context) -> bool:
        """Whether a miss may have been none: a withdrawal that another one gives up puts its ref back.

        Under the lease, when nobody has anything in his hands.
        """
        if not refs:
            return False
        with self._maintenance.run("heal", check=context.check):
            return all(self._maintenance.refs.read(ref) is not None for ref in refs)

    def _settle(self, digest: Digest, subjects: Subjects, context: Context) -> None:
        """What was taken away for a request that is done by now."""
        if self._withdrawal.is_missing(digest.hash):  # the request did not need it after all
            self.heal(missing(digest, ""), context)
        elif subjects.writes:
            self._note_back(self.owners.of({digest.hash}), {digest.hash})

    def heal(
        self, trouble: ObjectDamaged | ObjectMissing, context: Context, *, subjects: Subjects | None = None
    ) -> Healed:
        """All that is wrong with what was read: taken away, brought back, or its refs withdrawn.

        Raises Busy while somebody works with a ref that cannot be read, and what ``restore`` does.
        """
        subjects = subjects or Subjects()
        context.progress(Progress(phase="healing"))
        suspects = [] if trouble.digest is None else [trouble.digest]
        good: set[Digest] = set()
        for _round in range(ROUNDS):
            damaged, lost = self._look_over(suspects, subjects.refs, good, context)
            if not damaged and not lost:
                return AGAIN
            # Older than anything it puts into quarantine: until it ends, no cleanup withdraws for that.
            subject = suspects[0].hash if suspects else ""
            with self._restore.desk.writer("heal", subject, context) as operation:
                if damaged:
                    with (
                        self._maintenance.run("heal", check=context.check) as run,
                        self.taking(run) as take,
                    ):
                        for digest in damaged:
                            take(digest)
                    if subjects.writes:
                        return AGAIN
                lacking = [one for one in (*lost, *damaged) if self._withdrawal.is_missing(one.hash)]
                if lost and not lacking:
                    continue  # another one has brought it back meanwhile
                owners = self.owners.of({digest.hash for digest in lacking})
                if not owners and not damaged:
                    # No part of anything here; or its refs may just be gone.
                    return Healed(again=bool(subjects.refs))
                for digest in lost:
                    log.warning("object missing", extra={"hash": digest.hash, "refs": len(owners)})
                _keep(operation, owners, subjects.refs)
                projects = {*subjects.projects, *(owner.ref.project for owner in owners)}
                back, unasked = self.restore(lacking, projects, context)
                self._note_back(owners, {digest.hash for digest in back})
            gone = {one.hash for one in lacking if one not in back and self._withdrawal.is_missing(one.hash)}
            if gone and unasked is not None:
                raise type(unasked)(
                    f"{min(gone)} is {'damaged' if damaged else 'missing'} here, and a remote that may have "
                    f"it could not be asked: {unasked.what}",
                    unasked.where,
                    unasked.way_out,
                ) from unasked
            if gone:
                return Healed(again=True, withdrawn=self._withdraw_all(gone, context))
            suspects = []
        return AGAIN

    def mend(self, digest: Digest, context: Context, *, taken: Callable[[], None] = lambda: None) -> None:
        """What a server can do: take it away, tell ``taken`` of that, bring it back. Withdraws nothing.

        A cleanup does that once all who may upload it again have ended.
        """
        with self._restore.desk.writer("heal", digest.hash, context) as operation:
            with self._maintenance.run("heal", check=context.check) as run:
                was_damaged = self.quarantine(run, digest)
            taken()
            if was_damaged and self._withdrawal.is_missing(digest.hash):
                owners = self.owners.of({digest.hash})
                _keep(operation, owners)
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

    def _withdraw_all(self, hashes: Collection[str], context: Context) -> frozenset[Ref]:
        """Until no ref needs what is missing: also those published meanwhile by who relied on it before.

        Those that went.
        """
        deadline = time.monotonic() + _CLAIMED_S
        gone: set[Ref] = set()
        while True:
            with self._maintenance.run("heal", check=context.check) as run:
                gone.update(self.withdraw(run, hashes))
            left = self.owners.of({one for one in hashes if self._withdrawal.is_missing(one)})
            if not left:
                return frozenset(gone)
            if time.monotonic() > deadline:
                raise Busy("what it needs is missing, and somebody works with it", f"ref {left[0].ref}")
            context.check()
            time.sleep(_MOMENT_S)


def _met(error: CaskeeperError) -> ObjectDamaged | ObjectMissing | None:
    """What of a request's trouble is to be healed."""
    # VolumeFailed: a tree that a cleanup cannot look through. What else is transient passes.
    passing = isinstance(error, Transient) and not isinstance(error, VolumeFailed)
    return None if passing else trouble_of(error)


def _keep(operation: Operation, owners: Sequence[Owner], asked: Sequence[Ref] = ()) -> None:
    """What is about to be fetched again needs room: no cleanup makes it by evicting what is being healed.

    Nobody withdraws it either meanwhile. One that is just being removed is not kept.
    """
    kept = [owner for owner in owners if owner.ref in asked] or owners[:_KEPT]
    if kept:
        operation.claim([root for owner in kept for root in owner.record.roots])
