"""A cache of so many objects, written in the formats of the store but past its verbs: minutes become seconds.

An artifact is 98 files of its own, 40 files of all, and three folders: so 100 objects come with each.
A *simulated* cache has refs and closure lists of that shape, and no objects but those of one artifact.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from worker.closure import WHOLE, Closure
from worker.directory import Directory, DirectoryEntry, FileEntry, serialise
from worker.store.closures import ClosureList
from worker.store.refs import RefRecord, encode
from worker.store.system_calls import MTIME_S

if TYPE_CHECKING:
    from caskeeper.layout import Layout

OWN, SHARED = 98, 40
#: Objects that come with each artifact: its files, their folder, the root.
EACH = OWN + 2
#: When everything was used last: long before anything that is measured.
_AGE_S = 1_500_000_000


def fill(layout: Layout, objects: int, *, simulated: bool) -> None:
    """So many objects, a hundredth as many artifacts."""
    shared = [f"shared {number}".encode() * 10 for number in range(SHARED)]
    common = _folder("shared", shared)
    for content in (*shared, common):
        _object(layout, content)
    chance = random.Random(objects)
    for number in range(objects // EACH):
        ref = Ref("growth", f"element-{number % 1000}", f"{number:064x}")
        if simulated and number:
            root = Digest(chance.randbytes(32).hex(), 500)
            own = [Digest(chance.randbytes(32).hex(), 200) for _ in range(OWN)]
            folders = (Digest(chance.randbytes(32).hex(), 8000), Digest.of(common), root)
        else:
            files = [f"{number} {name}".encode() * 20 for name in range(OWN)]
            inner = _folder("own", files)
            top = serialise(
                Directory(
                    directories=(
                        DirectoryEntry("own", Digest.of(inner)),
                        DirectoryEntry("shared", Digest.of(common)),
                    )
                )
            )
            for content in (*files, inner, top):
                _object(layout, content)
            root, own = Digest.of(top), list(map(Digest.of, files))
            folders = (Digest.of(inner), Digest.of(common), root)
        closure = Closure(root, WHOLE, folders, (*own, *map(Digest.of, shared)))
        _file(layout.closure(root.hash, "whole"), ClosureList.of(closure).to_bytes(), number)
        record = RefRecord((root,), serial=number + 1, created_ms=1, origin="commit")
        _file(layout.ref(ref), encode(ref, record), number)


def _folder(name: str, files: list[bytes]) -> bytes:
    entries = [FileEntry(f"{name}-{place:04}", Digest.of(data)) for place, data in enumerate(files)]
    return serialise(Directory(files=tuple(entries)))


def _object(layout: Layout, content: bytes) -> None:
    _file(layout.object(hashlib.sha256(content).hexdigest()), content, 0)


def _file(path: str, content: bytes, younger_s: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    os.write(fd, content)
    os.utime(fd, (_AGE_S + younger_s, MTIME_S))
    os.close(fd)
