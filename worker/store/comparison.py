"""Is a folder the copy that was asked for? A job that is delivered again finds its work done (I8)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from caskeeper.digest import Hasher
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest, PartialArtifact
from worker.closure import descend, part_of
from worker.protocols import CHUNK_BYTES

if TYPE_CHECKING:
    from caskeeper.digest import Digest
    from worker.closure import Part, Scope
    from worker.directory import FileEntry
    from worker.protocols import Context
    from worker.store.objects import Objects

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would have us wait for its writer
_UNKNOWN = (BlobMissing, DigestMismatch, InvalidRequest, PartialArtifact)


def is_copy(
    root: Digest, path: str, *, objects: Objects, context: Context, scope: Scope, subdir: str | None
) -> bool:
    """Whether ``path`` holds exactly what ``checkout_copy`` would make there: names, link targets,
    content and owner-execute bits. Doubt is False.
    """  # noqa: D205 -- one claim
    try:
        part = part_of(scope, subdir)
        top = descend(root, subdir, objects.directory) if subdir else root
        todo = [(path, top, part)]
        while todo:
            context.check()
            below = _same_folder(*todo.pop(), objects=objects, context=context)
            if below is None:
                return False
            todo += below
    except (OSError, *_UNKNOWN):
        return False
    return True


def _same_folder(
    path: str, digest: Digest, part: Part, *, objects: Objects, context: Context
) -> list[tuple[str, Digest, Part]] | None:
    """The folders below that are to be looked at; None = this one is another."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return None
    directory = objects.directory(digest)
    below = [
        (f"{path}/{name}", inner, wanted)
        for name, inner in directory.directories
        if (wanted := part.below(name)) is not None
    ]
    files, links = (directory.files, directory.symlinks) if part.others else ((), ())
    expected = {os.path.basename(inner) for inner, _digest, _part in below}
    expected |= {entry.name for entry in files} | {entry.name for entry in links}
    if set(os.listdir(path)) != expected:
        return None
    if any(os.readlink(f"{path}/{name}") != target for name, target in links):
        return None
    if not all(_same_file(f"{path}/{entry.name}", entry, context) for entry in files):
        return None
    return below


def _same_file(path: str, entry: FileEntry, context: Context) -> bool:
    fd = os.open(path, _FILE)
    try:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode) or there.st_size != entry.digest.size_bytes:
            return False
        if bool(there.st_mode & stat.S_IXUSR) != entry.executable:
            return False
        hasher = Hasher()
        while chunk := os.read(fd, CHUNK_BYTES):
            context.check()
            hasher.update(chunk)
        return hasher.hexdigest() == entry.digest.hash
    finally:
        os.close(fd)
