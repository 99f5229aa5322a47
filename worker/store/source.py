"""The folder that a capture reads, part by part; what is read is stored at once (local-cas section 4).

Promises: what is hashed is what is stored, and it is what the file held at one moment; the folder is only
read. Raises InvalidRequest naming the path for what cannot be recorded (names that are no UTF-8, devices,
FIFOs, files that keep changing), PermissionDenied for what cannot be read, and whatever storing raises.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import EMPTY, Digest, Hasher
from caskeeper.errors import CaskeeperError, InvalidRequest
from worker.closure import MAX_DEPTH
from worker.directory import FileEntry, SymlinkEntry, is_name, is_target
from worker.protocols import CHUNK_BYTES
from worker.store.failures import failure
from worker.store.parallel import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
#: What the constructors of named tuples call, at half of their cost.
_new = tuple.__new__
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_UNREADABLE = frozenset({errno.EIO, errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV})


class Stored(NamedTuple):
    """Files of one folder: the small ones, which are stored, and the names of those that are large."""

    files: list[FileEntry]
    large: list[str]


class Listed(NamedTuple):
    """One folder: its first files, and the names of what else is in it, other files in parts."""

    stored: Stored
    folders: list[str]
    symlinks: list[SymlinkEntry]
    parts: list[list[str]]


class _Changing(Exception):
    """A file was not the same at the end of reading it."""


class Source:
    """Reads folders into one operation's store. Safe to use from several threads."""

    def __init__(self, blobs: StoreBlobs, *, check: Callable[[], None]) -> None:
        """``check`` is called between files, and pieces of large ones; what it raises stops the work."""
        self._blobs = blobs
        self._check = check

    def folder(self, path: str, depth: int) -> Listed:
        """What is in the folder, of which the first files are stored. The top has depth 1."""
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"it is deeper than {MAX_DEPTH} folders", path)
        fd = _open(path, is_top=depth == 1)
        try:
            folders, names, symlinks = self._list(path, fd)
            parts = [names[start : start + SLICE_FILES] for start in range(0, len(names), SLICE_FILES)]
            first = self._store(path, parts[0], fd) if parts else Stored([], [])
            return Listed(first, folders, symlinks, parts[1:])
        finally:
            os.close(fd)

    def files(self, path: str, names: Sequence[str]) -> Stored:
        """Store the small ones of these files of the folder."""
        fd = _open(path)
        try:
            return self._store(path, names, fd)
        finally:
            os.close(fd)

    def large_file(self, path: str, name: str) -> FileEntry:
        """Store one file of the folder, whatever its size."""
        fd = _open(path)
        try:
            return self._read_whole(path, name, fd, most_bytes=WHOLE_BYTES) or self._stream(path, name, fd)
        finally:
            os.close(fd)

    # -- folders ---------------------------------------------------------------------------------------

    def _list(self, path: str, fd: int) -> tuple[list[str], list[str], list[SymlinkEntry]]:
        folders: list[str] = []
        names: list[str] = []
        symlinks: list[SymlinkEntry] = []
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    name = entry.name
                    if not name.isascii() and not is_name(name):
                        raise InvalidRequest("its name is not valid UTF-8", f"{path}/{name!a}", "rename it")
                    if entry.is_file(follow_symlinks=False):
                        names.append(name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_symlink():
                        symlinks.append(self._symlink(path, name, fd))
                    elif not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                        raise InvalidRequest(
                            "it is neither file, folder nor symbolic link", f"{path}/{name}", "remove it"
                        )
        except OSError as error:
            raise _unreadable(error, path) from None
        return folders, names, symlinks

    def _symlink(self, path: str, name: str, fd: int) -> SymlinkEntry:
        target = os.readlink(name, dir_fd=fd)
        if not is_target(target):
            raise InvalidRequest(
                "the target of the symbolic link is not valid UTF-8", f"{path}/{name}", "link it anew"
            )
        return SymlinkEntry(name, target)

    # -- files -----------------------------------------------------------------------------------------

    def _store(self, path: str, names: Sequence[str], fd: int) -> Stored:
        files: list[FileEntry] = []
        large: list[str] = []
        for name in names:
            self._check()
            entry = self._read_whole(path, name, fd, most_bytes=SMALL_BYTES)
            if entry is None:
                large.append(name)
            else:
                files.append(entry)
        return Stored(files, large)

    def _read_whole(self, path: str, name: str, fd: int, *, most_bytes: int) -> FileEntry | None:
        """None when it has more bytes than that."""
        try:
            for _ in range(TRIES):
                file = os.open(name, _FILE, dir_fd=fd)
                try:
                    status = os.fstat(file)
                    size_bytes, mode = status.st_size, status.st_mode
                    if not stat.S_ISREG(mode):
                        continue
                    if size_bytes > most_bytes:
                        return None
                    data = os.read(file, size_bytes + 1)  # one more: whether it grew meanwhile
                    while data and len(data) < size_bytes and (more := os.read(file, size_bytes - len(data))):
                        data += more
                finally:
                    os.close(file)
                if len(data) == size_bytes:
                    digest = self._blobs.add(data) if data else EMPTY
                    return _new(FileEntry, (name, digest, bool(mode & stat.S_IXUSR)))
        except OSError as error:
            raise _unreadable(error, f"{path}/{name}") from None
        raise _changing(f"{path}/{name}")

    def _stream(self, path: str, name: str, fd: int) -> FileEntry:
        where = f"{path}/{name}"
        for _ in range(TRIES):
            try:
                file = os.open(name, _FILE, dir_fd=fd)
            except OSError as error:
                raise _unreadable(error, where) from None
            try:
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode):
                    digest = self._found(file, status, where)
                    if digest is None:
                        digest = self._blobs.add_stream(status.st_size, self._pieces(file, status, where))
                    return FileEntry(name, digest, bool(status.st_mode & stat.S_IXUSR))
            except _Changing:
                continue
            finally:
                os.close(file)
        raise _changing(where)

    def _found(self, file: int, status: os.stat_result, path: str) -> Digest | None:
        """What is most likely here is hashed before any of it is written; None: it is to be stored."""
        if not self._blobs.finds_most:
            return None
        hasher = Hasher()
        for piece in self._pieces(file, status, path):
            hasher.update(piece)
        digest = Digest(hasher.hexdigest(), status.st_size)
        if self._blobs.refresh(digest):
            return digest
        os.lseek(file, 0, os.SEEK_SET)
        return None

    def _pieces(self, file: int, status: os.stat_result, path: str) -> Iterator[memoryview]:
        """The content, whose last piece comes only if nothing about the file changed meanwhile.

        Each piece is good until the next one is asked for: all are read into one place, for new memory
        would be cleared by the kernel first.
        """
        left = status.st_size
        place = memoryview(bytearray(min(CHUNK_BYTES, left)))
        try:
            while left:
                self._check()
                count = os.readv(file, [place[:left]])
                left -= count
                now = os.fstat(file) if not left else status
                if not count or (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                    raise _Changing
                yield place[:count]
        except OSError as error:
            raise _unreadable(error, path) from None


def _open(path: str, *, is_top: bool = False) -> int:
    try:
        return os.open(path, _FOLDER)
    except OSError as error:
        if is_top and error.errno in _CHANGED:
            raise InvalidRequest("it is no folder", path, "name a folder that exists") from None
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
