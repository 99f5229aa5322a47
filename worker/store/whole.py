"""Whether the folders that every volume has are there, and its own: one judgement before anything goes (I9).

They are made with the volume, and nothing removes them. So a missing or linked one is trouble, an unmounted
disk or a slip of somebody's hand, and what should lie in it is not missing but out of reach (I10). A look
costs some thirty system calls, and is for who found nothing or is about to remove.
"""

from __future__ import annotations

import os
from os import lstat, scandir
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import VolumeFailed
from worker.store.links import WAY_OUT, stands, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.layout import Layout

_GONE = "a folder that every volume has is not there"
_ANOTHER = "another folder stands in its place than when this process began, and there are no refs in it"
_REFS_BACK = (
    "check that its disk is mounted, or bring it back from where it was moved to: nothing is deleted before "
    "that; if the refs are lost for good, start the workers anew"
)
_EMPTY = "there are refs, and none of the folders that objects lie in"


class Broken(NamedTuple):
    """A folder of the layout, what is wrong with it, and the way out."""

    path: str
    what: str
    way_out: str
    is_link: bool

    def error(self) -> VolumeFailed:
        """To be raised."""
        return VolumeFailed(self.what, self.path, self.way_out)


def broken_folders(layout: Layout) -> Iterator[Broken]:
    """Every one that is a link or not there; what would lie in one of these is not looked at.

    One folder of the fan-out may lack for who only asks whether the volume is whole: a publish makes it. All
    of the objects' may not while there are refs.
    """
    cas, refs = os.path.dirname(layout.objects), os.path.dirname(layout.refs)
    tops = (layout.objects, layout.executables, layout.closures)
    needed = (cas, *tops, refs, layout.refs, layout.extracts, layout.staging, layout.trashes, layout.pins)
    bad: set[str] = set()
    for path in (*needed, layout.damaged, layout.run):
        if os.path.dirname(path) in bad:
            bad.add(path)
            continue
        found = _look(layout, path, may_lack=path not in needed)
        if found is not None:
            bad.add(path)
            yield found
    for top in tops:
        fans = None if top in bad else _fans(top)
        for path in sorted(path for path, is_link in (fans or {}).items() if is_link):
            yield Broken(path, told(stands(path) or ""), WAY_OUT, is_link=True)
        if top == layout.objects and fans == {} and layout.refs not in bad and any(_fans(layout.refs) or ()):
            yield Broken(top, _EMPTY, _way_out(layout, top), is_link=False)


def refuse_broken(layout: Layout) -> None:
    """Raises VolumeFailed for the first of them."""
    for found in broken_folders(layout):
        raise found.error()


class RefsFolder:
    """Which folder the refs were in when this process began: it is never made anew."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.refs
        self._first = self._number()

    def refuse_another(self) -> None:
        """Raises VolumeFailed when another one stands there, without refs.

        Somebody unmounted or moved it. To a process that begins after that it is a volume without refs.
        """
        now = self._number()
        if self._first is not None and now != self._first and _fans(self._path) == {}:
            raise VolumeFailed(_ANOTHER, self._path, _REFS_BACK)

    def _number(self) -> tuple[int, int] | None:
        try:
            there = lstat(self._path)
        except OSError:  # who looks at all folders says so
            return None
        return there.st_dev, there.st_ino


def refuse_out_of_reach(layout: Layout, path: str, *, certain: bool = False) -> None:
    """For who found nothing at ``path``, which is below ``cas/objects`` or ``cas/refs/heads``.

    Raises VolumeFailed when that is no miss: a folder above it, up to the root, is a link, or one that is
    always there is not. ``certain``: who would withdraw a ref for it asks that of its own folder too.
    """
    tops, slash = (f"{layout.objects}/", f"{layout.refs}/"), len(layout.root)
    while (slash := path.find("/", slash + 1)) >= 0:
        found = _look(layout, path[:slash], may_lack=not certain and path[:slash].startswith(tops))
        if found is not None:
            raise found.error()


def _look(layout: Layout, path: str, *, may_lack: bool = False) -> Broken | None:
    target = stands(path)
    if target:
        return Broken(path, told(target), WAY_OUT, is_link=True)
    if target is None and not may_lack:
        return Broken(path, _GONE, _way_out(layout, path), is_link=False)
    return None


def _fans(folder: str) -> dict[str, bool] | None:
    """The folders and links in it, and which of them are links; None: it cannot be listed.

    Whoever goes on to work there meets the same trouble, and says so.
    """
    try:
        with scandir(folder) as listing:
            return {
                entry.path: entry.is_symlink()
                for entry in listing
                if entry.is_symlink() or entry.is_dir(follow_symlinks=False)
            }
    except OSError:
        return None


def _way_out(layout: Layout, path: str) -> str:
    anew = f"`mkdir -p {path}`"
    if path in {layout.objects, os.path.dirname(layout.objects)}:
        each = f"mkdir -p {layout.objects}/$(printf %02x $n)"
        anew = f"`for n in $(seq 0 255); do {each}; done`"
    return (
        "check that its disk is mounted, or bring it back from where it was moved to: nothing is deleted "
        f"before that; if what was in it is lost for good, {anew}, then `caskeeper verify --repair`"
    )
