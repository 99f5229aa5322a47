"""Putting back what an earlier cleanup took and did not finish (safety.md section 5, step 2).

Never unlinked by age here: by now somebody may need it. Extracts are the exception, they are only links.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY
from caskeeper.errors import CaskeeperError
from worker.services.trash import CLOSURE, EXECUTABLE, OBJECT, REF, delete_tree, ref_of, unlink

if TYPE_CHECKING:
    from worker.services.trash import Trash
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefRecord, Refs


def recover(trash: Trash, *, refs: Refs, closures: Closures, objects: Objects) -> tuple[int, int]:
    """Fence every other trash folder and put its content back: objects first, then whole refs.

    Returns (how many were put back, charged bytes that were one too many and are gone).
    """
    volume = trash.volume
    restored = freed = 0
    with os.scandir(volume.layout.trashes) as entries:
        others = [entry.name for entry in entries if entry.path != trash.folder]
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
    for name in sorted(os.listdir(folder)):
        path, prefix, rest = f"{folder}/{name}", name[:2], name[2:]
        if prefix == OBJECT:
            target = layout.object(rest)
        elif prefix == EXECUTABLE:
            target = layout.executable(rest)
        elif prefix == CLOSURE:
            target = layout.closure(*rest.split(".", 1)) if "." in rest else ""
        elif prefix == REF:
            later.append((path, rest))
            continue
        else:
            target = ""
        if target and volume.put_back(path, target):
            restored += 1
        else:
            freed += delete_tree(volume, path)
    for path, rest in later:
        if _put_back_ref(path, rest, refs=refs, closures=closures, objects=objects):
            restored += 1
        else:
            freed += unlink(volume, path)
    return restored, freed


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
