"""Whether a tree is all here, asked by an operation that is going to rely on it (I4)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from worker.closure import Closure
from worker.services import transfer
from worker.store.damage import missing

if TYPE_CHECKING:
    from worker.closure import Scope
    from worker.protocols import Context
    from worker.services.operations import Operation
    from worker.store.closures import Closures
    from worker.store.objects import Objects


# The constructor of a named tuple is a function in Python, and trees have thousands of files.
_new = tuple.__new__


class Presence:
    """Completeness by closure lists; a missing or damaged list is rebuilt by walking."""

    def __init__(self, closures: Closures, objects: Objects) -> None:
        self.closures = closures
        self.objects = objects

    def closure(self, root: Digest, scope: Scope) -> Closure:
        """What belongs to ``root``, in no particular order. BlobMissing when a Directory is gone."""
        folders: list[Digest] = []
        files: list[Digest] = []
        for raw, size_bytes, is_directory in self.closures.obtain(root, scope, self.objects).entries:
            (folders if is_directory else files).append(_new(Digest, (raw.hex(), size_bytes)))
        return Closure(root, scope, tuple(folders), tuple(files))

    def rely(self, operation: Operation, root: Digest, scope: Scope, context: Context) -> Closure:
        """Make everything of ``root`` young, its closure list included.

        Raises BlobMissing naming the first that is gone; the operation may rely on nothing then.
        """
        closure = self.closure(root, scope)
        lost = transfer.find_missing(operation.blobs, closure.digests, context)
        if lost:
            raise missing(lost[0], f"tree {root}")
        self.closures.write(operation.staging, closure)
        return closure

    def require(self, digests: list[Digest]) -> None:
        """Raises BlobMissing for the first of ``digests`` that cannot be read here (AC-67)."""
        place, look = self.objects.volume.layout.object, os.lstat
        for digest in digests:
            try:
                found = look(place(digest.hash))
                if found.st_size == digest.size_bytes and stat.S_ISREG(found.st_mode):
                    continue
            except OSError:
                pass  # looked at more closely
            # a reader looks into the trash too before it speaks of a miss (safety.md section 3)
            next(iter(self.objects.stream(digest, limit=1)), None)
