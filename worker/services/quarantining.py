"""Taking damaged files from their places into quarantine: what every healing and repair begins with.

Promises: nothing is taken but a file whose bytes were hashed and found wrong, by the holder of the
maintenance lease, and shared checkouts that hold links to it go with it. Every step may be repeated.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caskeeper.errors import Busy
from worker.services.quarantined import drop_excess
from worker.store.damage import Verdict, looked_at
from worker.store.failures import failure
from worker.store.quarantine import Quarantine
from worker.store.trash import (
    EXECUTABLE,
    OBJECT,
    STRANGE,
    aside,
    delete_tree,
    open_up,
    put_back_or_refresh,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from caskeeper.digest import Digest
    from worker.services.maintenance import Maintenance, Run
    from worker.services.owners import Owners

log = logging.getLogger(__name__)

#: How often a damaged file that its readers put back out of the trash is taken again.
_ATTEMPTS = 8


class Quarantining:
    """The way into quarantine on one volume."""

    def __init__(self, maintenance: Maintenance, owners: Owners) -> None:
        self._maintenance = maintenance
        self._volume = maintenance.volume
        self._layout = maintenance.volume.layout
        self._quarantine = Quarantine(maintenance.volume)
        self._owners = owners

    @contextmanager
    def taking(self, run: Run) -> Iterator[Callable[[Digest], bool]]:
        """Gives what takes an object and its executable copy away, each if its bytes are wrong.

        It answers whether something was taken, and raises LeaseLost and VolumeFailed. At the end go the
        checkouts with links to any of it: one pass over the refs, however many were taken.
        """
        taken: set[str] = set()
        linked: set[str] = set()

        def take(digest: Digest) -> bool:
            for kind, path in self._places(digest):
                links = self._take(run, kind, path, digest)
                if links is not None:
                    taken.add(digest.hash)
                    if links > 1:
                        linked.add(digest.hash)
            return digest.hash in taken

        try:
            yield take
        finally:
            if linked:
                self._drop_checkouts(run, linked)
            if taken:
                drop_excess(run, self._maintenance)

    def _places(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        return (
            (OBJECT, self._layout.object(digest.hash)),
            (EXECUTABLE, self._layout.executable(digest.hash)),
        )

    def _take(self, run: Run, kind: str, path: str, digest: Digest) -> int | None:
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
        for owner in self._owners.of(hashes):
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


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error
