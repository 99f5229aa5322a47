"""A symbolic link where a folder of the volume belongs: it is told, and nothing behind it is removed (I9).

Looked for at every start, and before each removal, change of a mode and replacement, never before what is
done for every object of a build: a publish or refresh through a link that came later lands beside the
volume, and deletes nothing. A look costs one system call for each folder between the root and the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.errors import VolumeFailed
from worker.store.failures import failure
from worker.store.system_calls import what_stands

if TYPE_CHECKING:
    from caskeeper.layout import Layout

WAY_OUT = "put the folder itself in the place of the link; another disk is mounted there, not linked"


def stands(path: str) -> str | None:
    """Where the symbolic link at ``path`` leads to; "" for everything else that is there, None for nothing.

    Raises the project's errors.
    """
    try:
        return what_stands(path)
    except OSError as error:
        raise failure(error, path) from error


def told(target: str) -> str:
    """What is wrong with a link to there."""
    return f"a symbolic link to {target[:200]!r} stands where a folder of the cache belongs"


def refuse_links(layout: Layout, *paths: str, below: str = "") -> None:
    """Raises VolumeFailed when a folder between the root of the volume and one of ``paths`` is a link.

    The root itself and what is above it may be one. ``below``: whoever removes many has just looked at that
    folder and those above it. Not asked for what an operation or a cleanup has of its own: the removal of
    their folders asks for all of it.
    """
    for path in paths:
        if layout.owner(path) is not None:
            continue
        slash = len(below or layout.root)
        while (slash := path.find("/", slash + 1)) >= 0:
            folder = path[:slash]
            if target := stands(folder):
                raise VolumeFailed(told(target), folder, WAY_OUT)
