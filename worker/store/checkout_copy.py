"""A checkout as a private copy: it shares nothing with the store (local-cas section 6).

It is also safe from somebody who puts links into it meanwhile.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from caskeeper.errors import DestinationExists
from worker.closure import WHOLE
from worker.protocols import quiet
from worker.store.checkout import Checkout
from worker.store.companion.messages import CompanionLost
from worker.store.comparison import is_copy
from worker.store.destination import MARK, Destination
from worker.store.parallel import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.digest import Digest
    from worker.closure import Scope
    from worker.directory import Directory, FileEntry
    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.checkout import Filled, Folder, Large
    from worker.store.companion.owner import Companion

#: What the kernel is asked to copy at once.
COPY_BYTES = 8 * 1024 * 1024
_NO_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def checkout_copy(
    root: Digest,
    destination: str,
    *,
    blobs: StoreBlobs,
    context: Context,
    scope: Scope = WHOLE,
    subdir: str | None = None,
    companion: Companion | None = None,
) -> None:
    """Make ``destination`` a private copy: 0666 and 0777 less the umask, independent of the store.

    ``destination`` is absolute, does not exist, is an empty folder or that very copy already, else
    DestinationExists. After a failure it is as it was before; after a crash the next attempt begins anew,
    or finds the work done. BlobMissing, PartialArtifact, NoSpace, PermissionDenied.
    """
    try:
        with Destination(destination) as place:
            copy = _Copy(blobs, context, place)
            start = copy.start(root, scope, subdir)
            try:
                copy.run(start, companion, destination=place.path, identity=place.identity())
            except CompanionLost:
                try:
                    place.clear()
                except OSError as error:
                    raise place.failure(error) from error
                _Copy(blobs, context, place).run(start)
    except DestinationExists:
        if not is_copy(root, destination, objects=blobs.objects, context=context, scope=scope, subdir=subdir):
            raise


def copy_aside(
    blobs: StoreBlobs, check: Callable[[], None], *, destination: str, identity: bytes
) -> Callable[[Folder], Filled]:
    """What a companion does for ``checkout_copy``."""
    place = Destination.joined(destination, identity)
    return _Copy(blobs, quiet()._replace(check=check), place).fill


class _Copy(Checkout):
    refused = MARK
    work = "copy"

    def __init__(self, blobs: StoreBlobs, context: Context, place: Destination) -> None:
        super().__init__(blobs, context)
        self._place = place

    def make_entries(self, path: str, directory: Directory, folders: list[Folder]) -> list[FileEntry]:
        large = []
        fd = self._place.open(path)
        try:
            for entry in directory.files:
                if entry.digest.size_bytes > SMALL_BYTES:
                    large.append(entry)
                else:
                    self._copy_small(entry, fd)
            for name, target in directory.symlinks:
                os.symlink(target, name, dir_fd=fd)
            for folder in folders:
                os.mkdir(folder.path.rpartition("/")[2], 0o777, dir_fd=fd)
        except OSError as error:
            raise self._place.failure(error, path) from error
        finally:
            os.close(fd)
        return large

    def _copy_small(self, entry: FileEntry, fd: int) -> None:
        data = self.objects.content(entry.digest)
        file = os.open(entry.name, _NEW_FILE, 0o777 if entry.executable else 0o666, dir_fd=fd)
        try:
            written = os.write(file, data) if data else 0
            while written < len(data):
                written += os.write(file, data[written:])
        finally:
            os.close(file)

    def copy_large(self, unit: Large) -> None:
        entry = unit.entry
        source = self.objects.open(entry.digest)
        try:
            fd = self._place.open(unit.path)
            try:
                file = os.open(entry.name, _NEW_FILE, 0o777 if entry.executable else 0o666, dir_fd=fd)
            finally:
                os.close(fd)
            try:
                self._copy(source, file, entry.digest.size_bytes)
            finally:
                os.close(file)
        except OSError as error:
            raise self._place.failure(error, f"{unit.path}/{entry.name}") from error
        finally:
            os.close(source)

    def _copy(self, source: int, file: int, size_bytes: int) -> None:
        """In the kernel: shared extents where the file system can, else without a way through here."""
        ranges = hasattr(os, "copy_file_range")  # not in every build of Python
        at = 0
        while at < size_bytes:
            self.crew.check()
            try:
                if ranges:
                    count = os.copy_file_range(source, file, min(COPY_BYTES, size_bytes - at), at)
                else:
                    count = os.sendfile(file, source, at, min(COPY_BYTES, size_bytes - at))
            except OSError as error:
                if not ranges or error.errno not in _NO_RANGE:
                    raise
                ranges = False
                continue
            if not count and ranges:  # some file systems answer nothing instead of refusing
                ranges = False
            elif not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            at += count
