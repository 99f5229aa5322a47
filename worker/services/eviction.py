"""Evicting one group: the steps of safety.md section 9 ``evict``, and nothing else.

A group is every ref of one tree (or of one set of roots). Refs go first, then the extract, the objects
that nothing else needs, and the closure list last (I7): a crash leaves garbage, never a dangling name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.services.trash import (
    CLOSURE,
    EXECUTABLE,
    OBJECT,
    REF,
    Trash,
    aside,
    delete_tree,
    open_up,
    put_back_or_refresh,
    ref_name,
    unlink,
)
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.artifact import Ref
    from worker.store.refs import RefRecord, Refs


@dataclass
class Evicted:
    """What one group gave: charged bytes, refs that are gone, objects kept because they are young."""

    freed_bytes: int = 0
    refs: list[Ref] = field(default_factory=list)
    kept_young: int = 0


class Evictor:
    """Takes things away for one cleanup. ``horizon_ns``: what was touched since then stays."""

    def __init__(self, trash: Trash, refs: Refs, *, horizon_ns: int) -> None:
        self.trash = trash
        self.volume = trash.volume
        self.layout = trash.volume.layout
        self.refs = refs
        self.horizon_ns = horizon_ns
        #: how many things were to go and stayed for being young
        self.kept_young = 0
        #: and how many charged bytes; a thing tried twice counts twice
        self.kept_young_bytes = 0

    def take_refs(
        self,
        judged: Sequence[tuple[Ref, RefRecord | None]],
        *,
        is_wanted: Callable[[Ref], bool] = lambda _ref: False,
        keep: Callable[[str, Ref], bool] = lambda _taken, _ref: False,
    ) -> tuple[list[Ref], int]:
        """Remove the refs that still are what was judged; the others stay. (those gone, freed bytes).

        ``is_wanted`` is asked once a ref lies in the trash, and may have it put back; ``keep`` may move one
        that goes to another place, where it is still counted.
        """
        gone, freed = [], 0
        for ref, record in judged:
            if not self._is_still(ref, record):
                continue
            place, taken = self.layout.ref(ref), self.trash.place(REF, ref_name(ref))
            if not self.volume.take(place, taken):
                continue
            # The writer that published between the look and the rename loses nothing: its ref goes back,
            # unless a third one has published meanwhile, whose ref then is the newer.
            may_go = self._record_at(taken) == record and not is_wanted(ref)
            if may_go or not self.volume.put_back(taken, place):
                if os.path.isdir(taken) and not os.path.islink(taken):
                    aside(self.volume, taken)  # no ref of ours, and never counted
                elif not (may_go and keep(taken, ref)):
                    freed += unlink(self.volume, taken)
                gone.append(ref)
                self.refs.prune_parents(ref)
        return gone, freed

    def _is_still(self, ref: Ref, record: RefRecord | None) -> bool:
        path = self.layout.ref(ref)
        return os.path.lexists(path) and self._record_at(path) == record

    def _record_at(self, path: str) -> RefRecord | None:
        return self.refs.record_at(path)

    def take_extracts(self, paths: Iterable[str]) -> int:
        """Remove those shared checkouts that no ref of their element names any more (AC-51)."""
        freed = 0
        for path in dict.fromkeys(paths):
            taken = self.trash.fresh()
            if self._is_named(path):
                continue
            open_up(self.volume, path)
            if self.volume.take(path, taken):
                freed += delete_tree(self.volume, taken)
                self._prune(path, stop=self.layout.extracts)
        return freed

    def _is_named(self, extract: str) -> bool:
        """Whether a ref of the checkout's element names its root; one that cannot be read may (I9)."""
        element, root_hash = os.path.split(extract)
        folder = f"{self.layout.refs}/{os.path.relpath(element, self.layout.extracts)}"
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return False
        for name in names:
            record = self._record_at(f"{folder}/{name}")
            if record is None and os.path.lexists(f"{folder}/{name}"):
                return True
            if record is not None and root_hash in {root.hash for root in record.roots}:
                return True
        return False

    def _prune(self, path: str, *, stop: str) -> None:
        parent = os.path.dirname(path)
        while parent.startswith(stop + "/") and self.volume.remove_folder(parent):
            parent = os.path.dirname(parent)

    def take_object(self, hash_hex: str) -> tuple[int, bool]:
        """Remove an object and its executable twin by two looks at the age. (freed bytes, kept as young)."""
        freed, kept = 0, False
        for prefix, path in (
            (EXECUTABLE, self.layout.executable(hash_hex)),
            (OBJECT, self.layout.object(hash_hex)),
        ):
            bytes_freed, young = self._two_looks(path, self.trash.place(prefix, hash_hex))
            freed += bytes_freed
            kept = kept or young
        return freed, kept

    def take_closure(self, root_hash: str, scope_id: str) -> tuple[int, bool]:
        """Remove a closure list the same way."""
        return self._two_looks(
            self.layout.closure(root_hash, scope_id), self.trash.place(CLOSURE, f"{root_hash}.{scope_id}")
        )

    def _two_looks(self, place: str, taken: str) -> tuple[int, bool]:
        freed, kept = self._take(place, taken)
        if kept:
            self.kept_young += 1
            self.kept_young_bytes += self.volume.charge(_size_of(place))
        return freed, kept

    def _take(self, place: str, taken: str) -> tuple[int, bool]:
        age_ns = age_ns_of(place)
        if age_ns is None or age_ns >= self.horizon_ns:
            return 0, age_ns is not None
        if not self.volume.take(place, taken):
            return 0, False
        # Whoever touched it between the look and the rename relies on it: it goes back. If the name is
        # taken again, what lies there is complete, and ours is one too many as soon as that is as young.
        age_ns = age_ns_of(taken)
        if age_ns is None:
            return 0, True  # a reader has found it in the trash and put it back itself
        if age_ns >= self.horizon_ns and put_back_or_refresh(self.volume, taken, place):
            return 0, True
        return unlink(self.volume, taken), False


def age_ns_of(path: str) -> int | None:
    """The age of a file in the volume's clock; None = it is not there. Raises VolumeFailed."""
    there = _look(path)
    return None if there is None else there.st_atime_ns


def _size_of(path: str) -> int:
    there = _look(path)
    return 0 if there is None else there.st_size


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error


@dataclass(frozen=True)
class Group:
    """What goes together: refs as judged, their roots, the checkouts and closure lists, and what only they
    need.
    """  # noqa: D205 -- one list

    roots: tuple[str, ...]
    refs: tuple[tuple[Ref, RefRecord | None], ...]
    lists: tuple[tuple[str, str], ...]
    free: tuple[str, ...]
    extracts: tuple[str, ...] = ()


def evict(
    evictor: Evictor,
    group: Group,
    *,
    uncondemn: Callable[[], None],
    check: Callable[[], None],
    told: Callable[[Sequence[Ref]], None] = lambda _refs: None,
) -> Evicted:
    """Evict one condemned group. ``uncondemn`` is called as soon as its names are gone.

    ``told`` which refs are gone at once: what follows may take long, and may be killed.

    ``check`` raises LeaseLost when the cleanup's lease is no longer ours; what was taken by then lies in
    the trash folder, and the next cleanup puts it back.
    """
    result = Evicted()
    try:
        result.refs, result.freed_bytes = evictor.take_refs(group.refs)
        told(result.refs)
        if len(result.refs) == len(group.refs):
            # Also those that were made since the plan.
            paths = [evictor.layout.extract(ref, root) for ref, _record in group.refs for root in group.roots]
            result.freed_bytes += evictor.take_extracts([*group.extracts, *paths])
    finally:
        uncondemn()
    if len(result.refs) < len(group.refs):
        return result  # somebody published one of them anew: the tree is wanted again
    for number, hash_hex in enumerate(group.free):
        if number % 256 == 0:
            check()
        freed, kept = evictor.take_object(hash_hex)
        result.freed_bytes += freed
        result.kept_young += kept
    if not result.kept_young:
        for root_hash, scope_id in group.lists:
            freed, kept = evictor.take_closure(root_hash, scope_id)
            result.freed_bytes += freed
            result.kept_young += kept
    return result
