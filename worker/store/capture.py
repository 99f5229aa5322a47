"""Capture: a folder becomes a tree of objects (local-cas section 4).

Promises: every object is stored, or found and made young, before the Directory that names it (I2, I4);
what is hashed is what is stored; memory grows with the number of files, not with their sizes. The folder
is only read. Publishing a ref is somebody else's step.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import CaskeeperError, InvalidRequest
from worker.closure import MAX_DEPTH, WHOLE, Closure
from worker.directory import Directory, DirectoryEntry, FileEntry, SymlinkEntry, is_name, is_target, serialise
from worker.protocols import CHUNK_BYTES
from worker.store.failures import failure
from worker.store.parallel import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs

#: Files up to this size are read whole, so that one which is here already is never written.
WHOLE_BYTES = 4 * 1024 * 1024
#: So many files of one folder are one piece of work.
SLICE_FILES = 256
#: How often a file that changes while it is read is tried.
TRIES = 3

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: O_NONBLOCK: a FIFO that took the file's place must not hold us
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_UNREADABLE = frozenset({errno.EIO, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV})


class Captured(NamedTuple):
    """``files`` and ``size_bytes`` count the regular files of the tree, equal ones as often as they stand."""

    root: Digest
    closure: Closure
    files: int
    size_bytes: int


class _Folder:
    """A folder until its Directory is stored: when ``pending`` parts and sub-folders are done."""

    __slots__ = ("depth", "directories", "files", "name", "parent", "path", "pending", "symlinks")

    def __init__(self, path: str, name: str, parent: _Folder | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 1
        self.pending = 1
        self.files: list[FileEntry] = []
        self.directories: list[DirectoryEntry] = []
        self.symlinks: list[SymlinkEntry] = []


class _Slice(NamedTuple):
    """Some files of a folder."""

    folder: _Folder
    names: list[str]


class _Large(NamedTuple):
    """One file of a folder, which goes through memory in pieces."""

    folder: _Folder
    name: str


class _Changing(Exception):
    """A file was not the same at the end of reading it."""


def capture(source: str, blobs: StoreBlobs, *, context: Context) -> Captured:
    """Store the folder at ``source`` and answer its root.

    Raises InvalidRequest naming the path for what cannot be recorded (names that are no UTF-8, devices,
    FIFOs, files that keep changing), PermissionDenied for what cannot be read, and whatever storing raises.
    """
    return _Capture(blobs, context).run(os.path.abspath(source))


class _Capture:
    def __init__(self, blobs: StoreBlobs, context: Context) -> None:
        self._blobs = blobs
        self._context = context
        self._crew: Crew[_Folder | _Slice | _Large] = Crew(self._do, self._watch)
        self._lock = threading.Lock()
        self._root = EMPTY
        self._directories: dict[Digest, None] = {}  # in the order in which they were stored
        self._contents: dict[Digest, None] = {}
        self._done_files = 0
        self._done_bytes = 0

    def run(self, source: str) -> Captured:
        self._crew.run([_Folder(source, "", None)])
        closure = Closure(self._root, WHOLE, tuple(self._directories), tuple(self._contents))
        return Captured(self._root, closure, self._done_files, self._done_bytes)

    def _watch(self) -> None:
        self._context.check()
        self._context.progress(
            Progress(phase="commit", done_bytes=self._done_bytes, done_objects=self._done_files)
        )

    def _do(self, unit: _Folder | _Slice | _Large) -> list[_Folder | _Slice | _Large]:
        """One piece of work; the pieces that follow from it."""
        if isinstance(unit, _Folder):
            return self._scan(unit)
        fd = self._open(unit.folder)
        try:
            if isinstance(unit, _Slice):
                return [*self._read(unit, fd)]
            self._finish(unit.folder, [self._read_large(unit, fd)])
            return []
        finally:
            os.close(fd)

    # -- folders ---------------------------------------------------------------------------------------

    def _open(self, folder: _Folder) -> int:
        try:
            return os.open(folder.path, _FOLDER)
        except OSError as error:
            if folder.parent is None and error.errno in _CHANGED:
                raise InvalidRequest("it is no folder", folder.path, "name a folder that exists") from None
            raise _unreadable(error, folder.path) from None

    def _scan(self, folder: _Folder) -> list[_Folder | _Slice | _Large]:
        if folder.depth > MAX_DEPTH:
            raise InvalidRequest(f"it is deeper than {MAX_DEPTH} folders", folder.path)
        fd = self._open(folder)
        try:
            folders, names = self._list(folder, fd)
            slices = [
                _Slice(folder, names[start : start + SLICE_FILES])
                for start in range(SLICE_FILES, len(names), SLICE_FILES)
            ]
            folder.pending += len(folders) + len(slices)
            return [*slices, *folders, *self._read(_Slice(folder, names[:SLICE_FILES]), fd)]
        finally:
            os.close(fd)

    def _list(self, folder: _Folder, fd: int) -> tuple[list[_Folder], list[str]]:
        folders: list[_Folder] = []
        names: list[str] = []
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    name = entry.name
                    if not name.isascii() and not is_name(name):
                        raise InvalidRequest(
                            "its name is not valid UTF-8", f"{folder.path}/{name!a}", "rename it"
                        )
                    if entry.is_file(follow_symlinks=False):
                        names.append(name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(_Folder(f"{folder.path}/{name}", name, folder))
                    elif entry.is_symlink():
                        folder.symlinks.append(self._symlink(folder, name, fd))
                    elif not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                        raise InvalidRequest(
                            "it is neither file, folder nor symbolic link",
                            f"{folder.path}/{name}",
                            "remove it",
                        )
        except OSError as error:
            raise _unreadable(error, folder.path) from None
        return folders, names

    def _symlink(self, folder: _Folder, name: str, fd: int) -> SymlinkEntry:
        target = os.readlink(name, dir_fd=fd)
        if not is_target(target):
            raise InvalidRequest(
                "the target of the symbolic link is not valid UTF-8", f"{folder.path}/{name}", "link it anew"
            )
        return SymlinkEntry(name, target)

    def _finish(self, folder: _Folder, files: list[FileEntry]) -> None:
        """A part of a folder is done; the last part stores its Directory, and so on upwards."""
        with self._lock:
            folder.files += files
            self._contents.update(dict.fromkeys([entry.digest for entry in files]))
            self._done_files += len(files)
            self._done_bytes += sum([entry.digest.size_bytes for entry in files])
            folder.pending -= 1
            complete = not folder.pending
        while complete:
            message = Directory(tuple(folder.files), tuple(folder.directories), tuple(folder.symlinks))
            digest = self._blobs.add(serialise(message))
            with self._lock:
                self._directories.setdefault(digest)
                if folder.parent is None:
                    self._root = digest
                    return
                folder.parent.directories.append(DirectoryEntry(folder.name, digest))
                folder = folder.parent
                folder.pending -= 1
                complete = not folder.pending

    # -- files -----------------------------------------------------------------------------------------

    def _read(self, part: _Slice, fd: int) -> list[_Large]:
        """Store the small files of a slice; the large ones are answered."""
        folder, names = part
        files: list[FileEntry] = []
        large: list[_Large] = []
        for name in names:
            self._crew.check()
            entry = self._read_small(folder, name, fd)
            if entry is None:
                large.append(_Large(folder, name))
            else:
                files.append(entry)
        if large:
            with self._lock:
                folder.pending += len(large)
        self._finish(folder, files)
        return large

    def _read_small(self, folder: _Folder, name: str, fd: int) -> FileEntry | None:
        """None when it is too large to be read whole."""
        try:
            for _ in range(TRIES):
                file = os.open(name, _FILE, dir_fd=fd)
                try:
                    status = os.fstat(file)
                    size_bytes = status.st_size
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    if size_bytes > WHOLE_BYTES:
                        return None
                    data = os.read(file, size_bytes + 1)  # one more: whether it grew meanwhile
                    while data and len(data) < size_bytes and (more := os.read(file, size_bytes - len(data))):
                        data += more
                finally:
                    os.close(file)
                if len(data) == size_bytes:
                    digest = self._blobs.add(data) if data else EMPTY
                    return FileEntry(name, digest, bool(status.st_mode & stat.S_IXUSR))
        except OSError as error:
            raise _unreadable(error, f"{folder.path}/{name}") from None
        raise _changing(f"{folder.path}/{name}")

    def _read_large(self, unit: _Large, fd: int) -> FileEntry:
        path = f"{unit.folder.path}/{unit.name}"
        for _ in range(TRIES):
            try:
                file = os.open(unit.name, _FILE, dir_fd=fd)
            except OSError as error:
                raise _unreadable(error, path) from None
            try:
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode):
                    digest = self._blobs.add_stream(status.st_size, self._pieces(file, status, path))
                    return FileEntry(unit.name, digest, bool(status.st_mode & stat.S_IXUSR))
            except _Changing:
                continue
            finally:
                os.close(file)
        raise _changing(path)

    def _pieces(self, file: int, status: os.stat_result, path: str) -> Iterator[bytes]:
        """The content, whose last piece comes only if nothing about the file changed meanwhile."""
        left = status.st_size
        try:
            while left:
                self._crew.check()
                piece = os.read(file, min(CHUNK_BYTES, left))
                left -= len(piece)
                now = os.fstat(file) if not left else status
                if not piece or (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                    raise _Changing
                yield piece
        except OSError as error:
            raise _unreadable(error, path) from None


def _changing(path: str) -> InvalidRequest:
    return InvalidRequest("it changes while it is read", path, "commit a folder that nobody writes to")


def _unreadable(error: OSError, path: str) -> CaskeeperError:
    """The source is not the volume: what cannot be read there is the request's fault."""
    if error.errno in _CHANGED:
        return _changing(path)
    if error.errno in _UNREADABLE:
        return InvalidRequest(
            f"it cannot be read: {error.strerror}", path, "commit a folder that can be read"
        )
    return failure(error, path)
