"""Evicting groups: the steps of safety.md section 9 ``evict``, and nothing else.

A group is every ref of one tree (or of one set of roots). Refs go first, then the extract, the objects
that nothing else needs, and the closure list last (I7): a crash leaves garbage, never a dangling name.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from worker.services.sharing import Piece, cut
from worker.store.taking import Taker
from worker.store.trash import REF, aside, delete_tree, open_up, ref_name, unlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.artifact import Ref
    from worker.services.sharing import Sharing
    from worker.store.refs import RefRecord, Refs
    from worker.store.taking import Taken
    from worker.store.trash import Trash


@dataclass
class Evicted:
    """What one group gave: charged bytes, refs that are gone, objects kept because they are young."""

    freed_bytes: int = 0
    refs: list[Ref] = field(default_factory=list)
    kept_young: int = 0


class Evictor(Taker):
    """Takes things away for one cleanup. ``horizon_ns``: what was touched since then stays."""

    def __init__(self, trash: Trash, refs: Refs, *, horizon_ns: int) -> None:
        super().__init__(trash, horizon_ns=horizon_ns)
        self.refs = refs

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

    def remove_extracts(self, paths: Iterable[str]) -> int:
        """Take them, as below, and delete them; freed bytes."""
        return sum(delete_tree(self.volume, taken) for taken in self.take_extracts(paths))

    def take_extracts(self, paths: Iterable[str]) -> list[str]:
        """Take those shared checkouts that no ref of their element names any more (AC-51).

        Answers where they lie, to be deleted: that may take long.
        """
        folders = []
        for path in dict.fromkeys(paths):
            if not os.path.lexists(path) or self._is_named(path):
                continue
            taken = self.trash.fresh()
            open_up(self.volume, path)
            if self.volume.take(path, taken):
                folders.append(taken)
                self._prune(path, stop=self.layout.extracts)
        return folders

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


@dataclass(frozen=True)
class Group:
    """What goes together: refs as judged, their roots, the checkouts and closure lists, and what only they
    need.
    """  # noqa: D205 -- one list

    roots: tuple[str, ...]
    refs: tuple[tuple[Ref, RefRecord | None], ...]
    lists: tuple[tuple[str, str], ...]
    free: tuple[bytes, ...]
    extracts: tuple[str, ...] = ()


def take_names(
    evictor: Evictor,
    groups: Sequence[Group],
    *,
    uncondemn: Callable[[], None],
    told: Callable[[Sequence[Evicted]], None] = lambda _results: None,
) -> list[Evicted]:
    """First half, for condemned groups: their refs, then the checkouts of those that have none left.

    ``uncondemn`` is called as soon as the names are gone, and before that ``told`` what became of the refs:
    what follows may take long, and may be killed.
    """
    results: list[Evicted] = []
    folders: list[tuple[Evicted, str]] = []
    try:
        try:
            for group in groups:
                results.append(Evicted())
                results[-1].refs, results[-1].freed_bytes = evictor.take_refs(group.refs)
        finally:
            told(results)
        for group, result in zip(groups, results, strict=True):
            if len(result.refs) == len(group.refs):
                # Also those that were made since the plan.
                made = [evictor.layout.extract(ref, root) for ref, _ in group.refs for root in group.roots]
                taken = evictor.take_extracts([*group.extracts, *made])
                folders += [(result, folder) for folder in taken]
    finally:
        uncondemn()
    for result, folder in folders:
        result.freed_bytes += delete_tree(evictor.volume, folder)
    return results


def take_content(
    evictor: Evictor,
    going: Sequence[tuple[Group, Evicted]],
    *,
    ended: Callable[[int], None],
    is_shared: Callable[[str, str], bool],
    sharing: Sharing,
    check: Callable[[], None],
) -> Callable[[], bool]:
    """Second half, for groups whose refs are all gone: their free objects, then of each the closure lists.

    ``ended`` is told the place in ``going`` of each group that is through; a closure list that ``is_shared``
    by then stays for the group that goes after it. Answers whether all are: some may
    still be in the hands of a companion. ``check`` raises LeaseLost when the cleanup's lease is no longer
    ours; what was taken by then lies in the trash folder, and the next cleanup puts it back.
    """
    pieces: list[Piece] = []
    left: Counter[int] = Counter()

    def told(place: int, taken: Taken) -> None:
        group, result = going[place]
        result.freed_bytes += taken.freed_bytes
        result.kept_young += taken.kept
        left[place] -= 1
        if not left[place]:
            _take_lists(evictor, group, result, is_shared)
            ended(place)

    for place, (group, _) in enumerate(going):
        pieces += [Piece(hashes, partial(told, place)) for hashes in cut(group.free)]
        left[place] = len(pieces) - left.total()
    sharing.take(pieces, check=check)
    return lambda: not left.total()


def _take_lists(
    evictor: Evictor, group: Group, result: Evicted, is_shared: Callable[[str, str], bool]
) -> None:
    """When all of a group's objects are gone: the closure lists go last (I7)."""
    if not result.kept_young:
        for root_hash, scope_id in group.lists:
            if is_shared(root_hash, scope_id):
                continue
            freed, kept = evictor.take_closure(root_hash, scope_id)
            result.freed_bytes += freed
            result.kept_young += kept
