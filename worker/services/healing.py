"""Self-healing: damaged content is taken away, brought back where it can be, else the ref is gone (R11).

Promises: what worker.services.quarantining does; a ref goes only while something it needs is missing and
nobody works with it. Every step may be repeated, and after a crash between two of them the next reader or
``verify`` goes on.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from caskeeper.contract import ComputeSizeRequest, Progress
from caskeeper.coordination.events import HEALED
from caskeeper.errors import (
    ArtifactNotFound,
    Busy,
    CaskeeperError,
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
        self._count_if_tight(digests, context)
        restored = self._restore(list(digests), projects, context)
        for digest in digests:
            log.info("restored" if digest in restored.back else "not restored", extra={"hash": digest.hash})
        return restored

    def _count_if_tight(self, digests: Collection[Digest], context: Context) -> None:
        """What went behind the cache's back is still counted, and would be in the way of what replaces it."""
        now = self._restore.desk.space.now()
        wanted_bytes = sum(self._maintenance.volume.charge(digest.size_bytes) for digest in digests)
        if now.usage.used_bytes + now.usage.reserved_bytes + wanted_bytes > now.limits.quota_bytes:
            with suppress(Busy):  # the waiting period after a loss of Redis, or others are faster
                self._recount(ComputeSizeRequest(), context)

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
                self._look_again(gone, healed, withdrawn, subjects.refs, context)
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
            else:
                self._settle(owed, subjects, context)
                return result
        return work()

    def _look_again(
        self,
        gone: ArtifactNotFound,
        healed: ObjectDamaged | ObjectMissing | None,
        withdrawn: Collection[Ref],
        refs: Sequence[Ref],
        context: Context,
    ) -> None:
        """Raises ``gone`` for what is gone indeed, with the reason where that is known.

        After a healing it may be here again: a withdrawal that another one gives up puts its ref back.
        """
        if healed is None:
            raise gone
        if any(ref in withdrawn for ref in refs):
            how = "damaged" if isinstance(healed, ObjectDamaged) else "missing"
            what = f"{healed.digest} was {how}, and no remote has it: its refs were withdrawn"
            raise ArtifactNotFound(what, gone.where, gone.way_out) from gone
        if not self._are_here(refs, context):
            raise gone

    def _are_here(self, refs: Sequence[Ref], context: Context) -> bool:
        """A look under the lease, when nobody has anything in his hands."""
        if not refs:
            return False
        with self._maintenance.run("heal", check=context.check):
            return all(self._maintenance.refs.read(ref) is not None for ref in refs)

    def _settle(self, owed: Collection[Digest], subjects: Subjects, context: Context) -> None:
        """What was taken away for a request that is done by now."""
        for digest in owed:
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
                    # No part of anything here; or its refs, or what was damaged, have just gone.
                    return Healed(again=bool(subjects.refs) or isinstance(trouble, ObjectDamaged))
                _tell_missing(lost, owners)
                back, unasked = self._bring_back(operation, lacking, owners, subjects, context)
            gone = {one.hash for one in lacking if one not in back and self._withdrawal.is_missing(one.hash)}
            if gone:
                if unasked is not None:
                    raise _not_asked(min(gone), "damaged" if damaged else "missing", unasked) from unasked
                return Healed(again=True, withdrawn=self._withdraw_all(gone, context))
            suspects = []
        return AGAIN

    def _bring_back(
        self,
        operation: Operation,
        lacking: Sequence[Digest],
        owners: Sequence[Owner],
        subjects: Subjects,
        context: Context,
    ) -> Restored:
        _keep(operation, owners, subjects.refs)
        projects = {*subjects.projects, *(owner.ref.project for owner in owners)}
        restored = self.restore(lacking, projects, context)
        self._note_back(owners, {digest.hash for digest in restored.back})
        return restored

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
                self._bring_back(operation, [digest], owners, Subjects(), context)

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


def _tell_missing(lost: Iterable[Digest], owners: Sequence[Owner]) -> None:
    for digest in lost:
        log.warning("object missing", extra={"hash": digest.hash, "refs": len(owners)})


def _not_asked(hash_hex: str, how: str, trouble: CaskeeperError) -> CaskeeperError:
    """To be without it is no miss yet (I10)."""
    what = f"{hash_hex} is {how} here, and a remote that may have it could not be asked: {trouble.what}"
    return type(trouble)(what, trouble.where, trouble.way_out)


def _keep(operation: Operation, owners: Sequence[Owner], asked: Sequence[Ref]) -> None:
    """What is about to be fetched again needs room: no cleanup makes it by evicting what is being healed.

    Nobody withdraws it either meanwhile. One that is just being removed is not kept.
    """
    kept = [owner for owner in owners if owner.ref in asked] or owners[:_KEPT]
    if kept:
        operation.claim([root for owner in kept for root in owner.record.roots])
