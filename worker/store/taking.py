"""Taking single files of content away, by two looks at the age (safety.md section 9 ``evict``).

For one cleanup, into its trash folder, whose path is the fence: of whoever holds the lease, and of a second
process that it has given a part of the objects to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from worker.store.failures import failure
from worker.store.links import refuse_links
from worker.store.trash import CLOSURE, EXECUTABLE, OBJECT, Trash, put_back_or_refresh, unlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.store.blobs import StoreBlobs

#: Of a folder with more names than this they are not kept in memory.
_NAMES_KEPT = 512
_NOT_LISTED = frozenset({"not listed"})
#: A hash in what is given to a second process.
HASH_BYTES = 32


class Taken(NamedTuple):
    """What became of some objects: charged bytes that are free; how many are kept as young.

    ``young`` and ``young_bytes``: how many files stayed, and their charged bytes.
    """

    freed_bytes: int
    kept: int
    young: int
    young_bytes: int


class Taker:
    """Takes content away for one cleanup. ``horizon_ns``: what was touched since then stays."""

    def __init__(self, trash: Trash, *, horizon_ns: int) -> None:
        self.trash = trash
        self.volume = trash.volume
        self.layout = trash.volume.layout
        self.horizon_ns = horizon_ns
        #: how many things were to go and stayed for being young
        self.kept_young = 0
        #: and how many charged bytes; a thing tried twice counts twice
        self.kept_young_bytes = 0
        self._twins: dict[str, frozenset[str] | None] = {}

    def look_above(self) -> None:
        """Raises VolumeFailed when the folder of objects, of executables or one above is a symbolic link."""
        refuse_links(self.layout, f"{self.layout.objects}/", f"{self.layout.executables}/")

    def take_objects(self, raws: bytes) -> Taken:
        """``take_object`` for hashes one after the other; the caller checks the lease between such calls."""
        young, young_bytes = self.kept_young, self.kept_young_bytes
        freed_bytes = kept = 0
        self.look_above()
        for raw in hashes_in(raws):
            freed, is_kept = self.take_object(raw.hex(), looked=True)
            freed_bytes += freed
            kept += is_kept
        return Taken(freed_bytes, kept, self.kept_young - young, self.kept_young_bytes - young_bytes)

    def take_object(self, hash_hex: str, *, looked: bool = False) -> tuple[int, bool]:
        """Remove an object and its executable twin by two looks at the age. (freed bytes, kept as young).

        ``looked``: the caller has looked above a moment ago.
        """
        freed, kept = 0, False
        if self._may_have_twin(hash_hex):
            twin = self.layout.executable(hash_hex)
            below = self.layout.executables if looked else ""
            freed, kept = self._two_looks(twin, self.trash.place(EXECUTABLE, hash_hex), below=below)
        below = self.layout.objects if looked else ""
        place, taken = self.layout.object(hash_hex), self.trash.place(OBJECT, hash_hex)
        more, young = self._two_looks(place, taken, below=below)
        return freed + more, kept or young

    def _may_have_twin(self, hash_hex: str) -> bool:
        """Whether an executable twin can be there that may go.

        The rule is that there is none, and a look at what is not there is dear. So each folder of the
        fan-out is listed once: what came later is young.
        """
        fan_out = hash_hex[:2]
        names = self._twins.get(fan_out, _NOT_LISTED)
        if names is _NOT_LISTED:
            names = self._twins[fan_out] = _names_in(f"{self.layout.executables}/{fan_out}")
        return names is None or hash_hex[2:] in names

    def take_closure(self, root_hash: str, scope_id: str) -> tuple[int, bool]:
        """Remove a closure list the same way."""
        return self._two_looks(
            self.layout.closure(root_hash, scope_id), self.trash.place(CLOSURE, f"{root_hash}.{scope_id}")
        )

    def finish(self, raws: bytes) -> Taken:
        """Of these objects, what lies in the trash already: the second look, as if they were taken now.

        For what somebody took for us who does nothing more. What it unlinked is gone, and counts nothing.
        """
        freed_bytes = kept = 0
        for raw in hashes_in(raws):
            for prefix, place in (
                (EXECUTABLE, self.layout.executable(raw.hex())),
                (OBJECT, self.layout.object(raw.hex())),
            ):
                freed, is_kept = self._end(place, self.trash.place(prefix, raw.hex()), back=False)
                freed_bytes += freed
                kept += is_kept
        self.kept_young += kept
        return Taken(freed_bytes, kept, kept, 0)

    def _two_looks(self, place: str, taken: str, *, below: str = "") -> tuple[int, bool]:
        freed, kept = self._take(place, taken, below)
        if kept:
            self.kept_young += 1
            self.kept_young_bytes += self.volume.charge(_size_of(place))
        return freed, kept

    def _take(self, place: str, taken: str, below: str) -> tuple[int, bool]:
        was = _look(place)
        if was is None or was.st_atime_ns >= self.horizon_ns:
            return 0, was is not None
        if not self.volume.take(place, taken, below=below):
            return 0, False
        return self._end(place, taken)

    def _end(self, place: str, taken: str, *, back: bool = True) -> tuple[int, bool]:
        # Whoever touched it between the look and the rename relies on it: it goes back. If the name is
        # taken again, what lies there is complete, and ours is one too many as soon as that is as young.
        was = _look(taken)
        if was is None:
            return 0, back  # a reader has found it in the trash and put it back itself
        age_ns = was.st_atime_ns
        if age_ns >= self.horizon_ns and put_back_or_refresh(self.volume, taken, place):
            return 0, True
        # Its path is known to nobody who links, so it has no more names than when it was looked at.
        freed = unlink(self.volume, taken, was=was)
        if not freed or self.volume.has_noreplace:
            return freed, False
        # Where a rename may replace something a reader puts it back by a link instead, and may just have.
        there = _look(place)
        back = there is not None and os.path.samestat(there, was)
        return (0 if back else freed), back


def take_aside(
    blobs: StoreBlobs, check: Callable[[], None], *, trash_id: str, horizon_ns: int
) -> Callable[[bytes], Taken]:
    """What a second process does for the cleanup of that trash folder: a unit is hashes in a row."""
    check()
    taker = Taker(Trash(blobs.staging.volume, trash_id), horizon_ns=horizon_ns)
    return taker.take_objects


def hashes_in(raws: bytes) -> Iterator[bytes]:
    """Hashes that stand one after the other."""
    return (raws[at : at + HASH_BYTES] for at in range(0, len(raws), HASH_BYTES))


def age_ns_of(path: str) -> int | None:
    """The age of a file in the volume's clock; None = it is not there. Raises VolumeFailed."""
    there = _look(path)
    return None if there is None else there.st_atime_ns


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error


def _names_in(folder: str) -> frozenset[str] | None:
    """What is in a folder, empty if there is none; None: too much to be kept."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise failure(error, folder) from error
    return frozenset(names) if len(names) <= _NAMES_KEPT else None


def _size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise failure(error, path) from error
