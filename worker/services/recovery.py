"""Putting back what an earlier cleanup took and did not finish (safety.md section 5, step 2).

Never unlinked by age here: by now somebody may need it. Extracts are the exception, they are only links.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY
from caskeeper.errors import CaskeeperError, LeaseLost
from worker.store.failures import failure
from worker.store.objects import is_file
from worker.store.trash import (
    CLOSURE,
    EXECUTABLE,
    OBJECT,
    REF,
    STRANGE,
    aside,
    delete_tree,
    put_back_or_refresh,
    ref_of,
    unlink,
)

if TYPE_CHECKING:
    from caskeeper.layout import Layout
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefRecord, Refs
    from worker.store.trash import Trash


_HASH = re.compile(r"[0-9a-f]{64}\Z")
_LIST = re.compile(r"([0-9a-f]{64})\.(whole|[0-9a-f]{16})\Z")


def recover(trash: Trash, *, refs: Refs, closures: Closures, objects: Objects) -> tuple[int, int]:
    """Fence every other trash folder and put its content back: objects first, then whole refs.

    Returns (how many were put back, charged bytes that were one too many and are gone).
    """
    volume = trash.volume
    restored = freed = 0
    with os.scandir(volume.layout.trashes) as entries:
        others = [
            entry.name
            for entry in entries
            # A file is no cleanup's: it has nothing to give back, and it is not ours (I9).
            if (entry.is_dir(follow_symlinks=False) or entry.is_symlink()) and entry.path != trash.folder
        ]
    for name in others:
        # Its owner, if it still lives, finds the folder gone at its next rename and stops. The new name
        # lies beside the others, so that readers look into it and a crash here is recovered likewise.
        fenced = f"{trash.folder}.recovers.{name[-32:]}"
        if not volume.take(volume.layout.trash(name), fenced):
            continue
        if os.path.islink(fenced):
            unlink(volume, fenced)  # no cleanup made it, and what it leads to is not ours (I9)
            continue
        while True:
            back, gone = _put_back_all(fenced, refs=refs, closures=closures, objects=objects)
            restored += back
            freed += gone
            if volume.remove_folder(fenced) or not os.path.isdir(fenced):
                break
    return restored, freed


def _put_back_all(folder: str, *, refs: Refs, closures: Closures, objects: Objects) -> tuple[int, int]:
    volume = refs.volume
    layout = volume.layout
    restored = freed = 0
    later = []
    for name in _names(folder):
        path, prefix, rest = f"{folder}/{name}", name[:2], name[2:]
        if prefix == STRANGE:
            aside(volume, path)
            continue
        if not is_file(path):
            target = ""  # a checkout, or nothing that a cleanup takes under such a name
        elif prefix == REF:
            later.append((path, rest))
            continue
        else:
            target = _place(layout, prefix, rest)
        if target and put_back_or_refresh(volume, path, target):
            restored += 1
        else:
            freed += delete_tree(volume, path)
    for path, rest in later:
        if _put_back_ref(path, rest, refs=refs, closures=closures, objects=objects):
            restored += 1
        else:
            freed += unlink(volume, path)
    return restored, freed


def _names(folder: str) -> list[str]:
    """What lies in a fenced trash folder. LeaseLost: a third cleanup recovers it, and so fences us."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        raise LeaseLost("another cleanup has taken over", folder) from None
    except OSError as error:
        raise failure(error, folder) from error


def _place(layout: Layout, prefix: str, rest: str) -> str:
    """Where a file of a trash folder belongs; '' for a name that no cleanup gives."""
    if prefix == OBJECT and _HASH.match(rest):
        return layout.object(rest)
    if prefix == EXECUTABLE and _HASH.match(rest):
        return layout.executable(rest)
    named = _LIST.match(rest) if prefix == CLOSURE else None
    return layout.closure(named[1], named[2]) if named else ""


def _put_back_ref(path: str, name: str, *, refs: Refs, closures: Closures, objects: Objects) -> bool:
    record = refs.record_at(path)
    if record is None:
        return False
    ref = ref_of(name)
    if ref is None:
        try:
            ref = Ref.parse(record.name)
        except CaskeeperError:
            return False
    if not _is_whole(record, closures=closures, objects=objects):
        return False
    target = refs.volume.layout.ref(ref)
    refs.volume.make_folders(os.path.dirname(target))
    return refs.volume.put_back(path, target)


def _is_whole(record: RefRecord, *, closures: Closures, objects: Objects) -> bool:
    try:
        return all(
            digest == EMPTY or objects.stat(digest.hash) is not None
            for root in record.roots
            for digest in closures.obtain(root, record.scope, objects).digests()
        )
    except CaskeeperError:
        return False
