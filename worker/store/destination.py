"""The folder a private copy is made in: anywhere, and not ours.

Promises: nothing that was there is written over; every folder is opened from the destination downwards
without following a link, so nobody can lead the copy out of it; a failure leaves it as it was, and what a
killed attempt has left is known by its mark and made anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import weakref
from typing import TYPE_CHECKING, Self

from caskeeper.errors import Busy, CaskeeperError, DestinationExists, InvalidRequest
from worker.store import failures

if TYPE_CHECKING:
    from types import TracebackType

#: Stands in the folder, locked, while the copy is being made.
MARK = ".caskeeper-unfinished"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})


class Destination:
    """A context: the folder exists, is ours and empty inside it. Several threads may use it."""

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path) or "\0" in path:
            raise InvalidRequest(f"{path[:200]!r} is no absolute path", "destination")
        self.path = os.path.normpath(path)
        self._created = False
        self._fd = -1
        self._mark = -1

    @classmethod
    def joined(cls, path: str, identity: bytes) -> Self:
        """The one that another process has made ready, to work in it too, until nobody holds it any more."""
        place = cls(path)
        try:
            place._fd = os.open(place.path, _FOLDER)
        except OSError as error:
            raise place.failure(error) from error
        if place.identity() != identity:
            place.close()
            raise DestinationExists("somebody else changes it", path)
        weakref.finalize(place, os.close, place._fd)
        return place

    def __enter__(self) -> Self:
        try:
            self._open()
            try:
                self._claim()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            if error.errno in _NO_FOLDER:
                raise DestinationExists("it is no folder", self.path) from None
            if error.errno == errno.ENOENT:
                raise InvalidRequest(
                    "the folder above it does not exist", self.path, "make it first"
                ) from None
            raise self.failure(error) from error
        return self

    def _open(self) -> None:
        try:
            os.mkdir(self.path)
            self._created = True
        except FileExistsError:
            pass
        self._fd = os.open(self.path, _FOLDER)

    def _claim(self) -> None:
        names = os.listdir(self._fd)
        if names and MARK not in names:
            raise DestinationExists("it is not empty", self.path)
        self._mark = os.open(MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another copy is being made there", self.path) from None
        if names not in ([], [MARK]) and os.pread(self._mark, 100, 0) != self.identity():
            # Content of the same name that came with an artifact says nothing about what lies beside it.
            raise DestinationExists("it is not empty", self.path)
        os.pwrite(self._mark, self.identity(), 0)
        self.clear()  # of an attempt that was killed

    def identity(self) -> bytes:
        """What only a mark written into this very folder says; no artifact can know it beforehand."""
        here = os.fstat(self._fd)
        return f"{here.st_dev}:{here.st_ino}:{socket.gethostname()}\n".encode()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                with contextlib.suppress(OSError):  # what failed first is what is reported
                    self.clear()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(MARK, dir_fd=self._fd)
            if kind is not None and self._created:
                with contextlib.suppress(OSError):
                    os.rmdir(self.path)
        except OSError as trouble:
            raise self.failure(trouble) from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it; nothing in it changes."""
        for fd in (self._mark, self._fd):
            if fd >= 0:
                os.close(fd)

    def clear(self) -> None:
        """Remove everything but the mark."""
        with os.scandir(self._fd) as listing:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
        for name, is_folder in entries:
            if is_folder:
                shutil.rmtree(name, dir_fd=self._fd)
            elif name != MARK:
                os.unlink(name, dir_fd=self._fd)

    def open(self, path: str) -> int:
        """A descriptor of the folder at ``path`` ("" or "/a/b") below the destination, to be closed."""
        fd = os.dup(self._fd)
        for name in path.split("/")[1:]:
            try:
                inner = os.open(name, _FOLDER, dir_fd=fd)
            except OSError as error:
                raise self.failure(error, path) from error
            finally:
                os.close(fd)
            fd = inner
        return fd

    def failure(self, error: OSError, path: str = "") -> CaskeeperError:
        """What to raise for trouble at ``path`` in the destination."""
        if error.errno in {*_NO_FOLDER, errno.EEXIST, errno.ENOENT}:
            return DestinationExists("somebody else changes it", f"{self.path}{path}")
        if error.errno == errno.ENAMETOOLONG:
            return InvalidRequest("its path is too long", f"{self.path}{path}", "name a shorter destination")
        return failures.failure(error, f"{self.path}{path}")
