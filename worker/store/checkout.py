"""Checkout: a tree of objects becomes a folder, by links or as a private copy (local-cas section 6).

The scope decides what is extracted: what was left out is omitted, and anything else that is missing is
BlobMissing, never a hole (AC-57). Names come from parsed Directory messages, so none leads out of the
folder; a private copy is also safe from somebody who puts links into it meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.digest import EMPTY
from caskeeper.errors import DestinationExists, InvalidRequest, VolumeFailed
from worker.closure import WHOLE, Part, Scope, descend, part_of
from worker.directory import Directory
from worker.store.comparison import is_copy
from worker.store.damage import missing, wrong_size
from worker.store.destination import MARK, Destination
from worker.store.failures import failure
from worker.store.parallel import Crew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.digest import Digest
    from worker.directory import FileEntry
    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.objects import Objects

#: Files up to this size are copied through memory in one piece.
WHOLE_BYTES = 1024 * 1024
#: What the kernel is asked to copy at once.
COPY_BYTES = 8 * 1024 * 1024
_NO_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class _Folder(NamedTuple):
    """A folder that was made and is to be filled; ``path`` is below the checkout's own."""

    path: str
    digest: Digest
    part: Part


class _Large(NamedTuple):
    """A file that takes long."""

    path: str
    entry: FileEntry


def checkout_links(
    root: Digest,
    target: str,
    *,
    blobs: StoreBlobs,
    context: Context,
    scope: Scope = WHOLE,
    subdir: str | None = None,
) -> int:
    """Make ``target``, a new folder in the operation's own, out of links to objects (0444 and 0555).

    With ``subdir`` it becomes that sub-tree of ``root``. Answers the charged bytes of what had to be
    copied where no link was possible: they are spent, and the caller adds them when the folder has
    reached its place. BlobMissing, PartialArtifact, LeaseLost, and what spending raises.
    """
    links = _Links(blobs, context, target)
    start = links.start(root, scope, subdir)
    links.make()
    links.run(start)
    return links.copied_bytes


def checkout_copy(
    root: Digest,
    destination: str,
    *,
    objects: Objects,
    context: Context,
    scope: Scope = WHOLE,
    subdir: str | None = None,
) -> None:
    """Make ``destination`` a private copy: 0666 and 0777 less the umask, independent of the store.

    ``destination`` is absolute, does not exist, is an empty folder or that very copy already, else
    DestinationExists. After a failure it is as it was before; after a crash the next attempt begins anew,
    or finds the work done. BlobMissing, PartialArtifact, NoSpace, PermissionDenied.
    """
    try:
        with Destination(destination) as place:
            copy = _Copy(objects, context, place)
            copy.run(copy.start(root, scope, subdir))
    except DestinationExists:
        if not is_copy(root, destination, objects=objects, context=context, scope=scope, subdir=subdir):
            raise


class _Checkout(ABC):
    """What both kinds share: the way through the tree."""

    #: a name that the top folder may not have
    refused = ""

    def __init__(self, objects: Objects, context: Context) -> None:
        self._objects = objects
        self._context = context
        self._crew: Crew[_Folder | _Large] = Crew(self._do, self._watch)
        self._lock = threading.Lock()
        self._done_files = 0
        self._done_bytes = 0

    def start(self, root: Digest, scope: Scope, subdir: str | None) -> _Folder:
        """The folder of the tree that becomes the checkout."""
        part = part_of(scope, subdir)
        top = descend(root, subdir, self._objects.directory) if subdir else root
        if any(entry.name == self.refused for kind in self._objects.directory(top) for entry in kind):
            raise InvalidRequest(
                f"the artifact holds {self.refused!r}, which a private copy cannot", "", "extract it shared"
            )
        return _Folder("", top, part)

    def run(self, start: _Folder) -> None:
        """Fill it and everything below."""
        self._crew.run([start])

    def _watch(self) -> None:
        self._context.check()
        self._context.progress(
            Progress(phase="extract", done_bytes=self._done_bytes, done_objects=self._done_files)
        )

    def _do(self, unit: _Folder | _Large) -> list[_Folder | _Large]:
        if isinstance(unit, _Large):
            self._copy_large(unit)
            self._count((unit.entry,), ())
            return []
        directory = self._objects.directory(unit.digest)
        folders = [
            _Folder(f"{unit.path}/{name}", digest, below)
            for name, digest in directory.directories
            if (below := unit.part.below(name)) is not None
        ]
        if not unit.part.others:  # only a folder on the way to what is wanted
            directory = Directory()
        large = self._fill(unit.path, directory, folders)
        self._count(directory.files, large)
        return [*folders, *(_Large(unit.path, entry) for entry in large)]

    def _count(self, files: Sequence[FileEntry], left: Sequence[FileEntry]) -> None:
        """``files`` are done, but for those of them that were ``left`` for later."""
        size_bytes = sum([entry.digest.size_bytes for entry in files])
        size_bytes -= sum([entry.digest.size_bytes for entry in left])
        with self._lock:
            self._done_files += len(files) - len(left)
            self._done_bytes += size_bytes

    @abstractmethod
    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        """Make files, links and empty folders at ``path``; the files that were left for later."""

    @abstractmethod
    def _copy_large(self, unit: _Large) -> None:
        """Make a file that was left for later."""


class _Links(_Checkout):
    def __init__(self, blobs: StoreBlobs, context: Context, target: str) -> None:
        super().__init__(blobs.objects, context)
        self.copied_bytes = 0
        self._blobs = blobs
        self._staging = blobs.staging
        self._volume = blobs.staging.volume
        self._target = target

    def make(self) -> None:
        """The folder itself."""
        if not self._volume.make_folder(self._target, mode=0o755):
            raise VolumeFailed("a new folder was there before", self._target)

    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        here = f"{self._target}{path}"
        for folder in folders:
            self._volume.make_folder(f"{self._target}{folder.path}", mode=0o755)
        place, link, executable = self._volume.layout.object, self._volume.link, self._blobs.executable
        copies = []
        for entry in directory.files:
            name, digest, is_executable = entry
            if digest == EMPTY:
                self._volume.stage(f"{here}/{name}", b"", mode=_mode(entry))
                continue
            source = executable(digest) if is_executable else place(digest.hash)
            try:
                linked = link(source, f"{here}/{name}")
            except FileNotFoundError:
                linked = self._found_again(entry, source, f"{here}/{name}")
            if linked:
                self._look_at(entry, source, f"{here}/{name}")
            else:
                copies.append(entry)
        for name, target in directory.symlinks:
            self._volume.symlink(target, f"{here}/{name}")
        return copies

    def _look_at(self, entry: FileEntry, source: str, path: str) -> None:
        """At the link, which nobody exchanges: raises ObjectDamaged where it is no file of its size."""
        try:
            there = os.lstat(path)
        except OSError as error:
            self._staging.confirm()  # without its folder this operation is over
            raise failure(error, path) from error
        if not stat.S_ISREG(there.st_mode) or there.st_size != entry.digest.size_bytes:
            self._volume.unlink(path)
            raise wrong_size(entry.digest, source) or missing(entry.digest, source)

    def _found_again(self, entry: FileEntry, source: str, path: str) -> bool:
        """A cleanup may have it in its hands: looked for everywhere and put back, or BlobMissing."""
        os.close(self._objects.open(entry.digest))
        try:
            return self._volume.link(source, path)
        except FileNotFoundError:
            raise missing(entry.digest, source) from None

    def _copy_large(self, unit: _Large) -> None:
        """No link was possible: too many links, or a file system that has none."""
        digest = unit.entry.digest
        charged = self._volume.charge(digest.size_bytes)
        self._staging.spend(charged)
        with self._lock:
            self.copied_bytes += charged
        path = f"{self._target}{unit.path}/{unit.entry.name}"
        file = self._volume.stage_stream(path, mode=_mode(unit.entry))
        try:
            for chunk in self._objects.stream(digest):
                self._crew.check()
                file.write(chunk)
            file.finish()
        except BaseException:
            file.discard()
            raise


class _Copy(_Checkout):
    refused = MARK

    def __init__(self, objects: Objects, context: Context, place: Destination) -> None:
        super().__init__(objects, context)
        self._place = place

    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        large = []
        fd = self._place.open(path)
        try:
            for entry in directory.files:
                if entry.digest.size_bytes > WHOLE_BYTES:
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
        digest = entry.digest
        data = b""
        if digest != EMPTY:
            source = self._objects.open(digest)
            try:
                data = os.read(source, digest.size_bytes)
            finally:
                os.close(source)
            if len(data) < digest.size_bytes:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        file = os.open(entry.name, _NEW_FILE, 0o777 if entry.executable else 0o666, dir_fd=fd)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)

    def _copy_large(self, unit: _Large) -> None:
        entry = unit.entry
        source = self._objects.open(entry.digest)
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
        ranges = True
        at = 0
        while at < size_bytes:
            self._crew.check()
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


def _mode(entry: FileEntry) -> int:
    return 0o555 if entry.executable else 0o444
