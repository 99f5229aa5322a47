"""The only code that changes the volume (safety.md section 8).

Promises: one method is one change, and says so to ``_change`` first, where a test makes it fail or
switches to another actor. Names are full paths always: a folder's descriptor would follow a renamed
folder and defeat the fence. A name below ``tmp/`` or ``trash/`` that is gone means that its owner was
fenced, which is LeaseLost. Raises only the project's errors, except where a method says otherwise.

Does not promise: what to change and in which order. That is staging, blobs, refs and the cleanup.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import CaskeeperError, LeaseLost, VolumeFailed
from worker.store import system_calls
from worker.store.failures import failure
from worker.store.links import refuse_links
from worker.store.parallel import Turn
from worker.store.staged_file import StagedFile, write_all

if TYPE_CHECKING:
    from caskeeper.layout import Layout
    from worker.protocols import Piece

_NO_NOREPLACE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_NO_LINK = frozenset({errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP})
_THERE = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Outcome(Enum):
    """How a change of a folder ended. True only when it was done."""

    DONE = "done"
    #: the folder was not there
    GONE = "gone"
    #: somebody else's folder stands where it should go
    THEIRS = "theirs"
    #: it still has entries
    NOT_EMPTY = "not empty"

    def __bool__(self) -> bool:
        return self is Outcome.DONE


class Space(NamedTuple):
    """What the file system says; ``available_bytes`` is what an unprivileged process may write."""

    total_bytes: int
    available_bytes: int
    inodes_total: int
    inodes_free: int


class Volume:
    """The changes of one volume. Safe to use from several threads and processes."""

    def __init__(self, layout: Layout) -> None:
        """Raises VolumeFailed or PermissionDenied when the root folder cannot be looked at."""
        self.layout = layout
        self.umask = system_calls.process_umask()
        self.has_noreplace = system_calls.HAS_RENAMEAT2
        #: for whoever goes through many small files of it
        self.turn = Turn()
        try:
            self.block_bytes: int = os.statvfs(layout.root).f_frsize or 4096
        except OSError as error:
            raise failure(error, layout.root) from error

    @staticmethod
    def make_root(layout: Layout) -> None:
        """The cache folder itself, for a volume that does not exist yet."""
        try:
            os.makedirs(layout.root, exist_ok=True)
        except OSError as error:
            raise failure(error, layout.root) from error

    def _change(self, verb: str, *paths: str) -> None:
        """Called before every change; does nothing here. Tests override it (safety.md section 8)."""

    def charge(self, size_bytes: int) -> int:
        """What a file of this size counts in ``used``: rounded up to the block (interface section 4)."""
        return -(-size_bytes // self.block_bytes) * self.block_bytes

    def space(self) -> Space:
        """The second guard beside the counter (safety.md section 6)."""
        try:
            there = os.statvfs(self.layout.root)
        except OSError as error:
            raise failure(error, self.layout.root) from error
        return Space(
            total_bytes=there.f_blocks * there.f_frsize,
            available_bytes=there.f_bavail * there.f_frsize,
            inodes_total=there.f_files,
            inodes_free=there.f_favail,
        )

    # -- new files -------------------------------------------------------------------------------------

    def create(self, path: str) -> None:
        """An empty file that was not there before, with the volume's time as its modification time."""
        self._change("create", path)
        try:
            os.close(os.open(path, _NEW_FILE, 0o444))
        except OSError as error:
            raise self._failure(error, path) from error

    def stage(self, path: str, data: Piece, *, mode: int = 0o444) -> None:
        """A new file: these bytes, exactly this mode, constant modification time. None after a failure."""
        self._change("stage", path)
        try:
            fd = os.open(path, _NEW_FILE, mode)
        except OSError as error:
            raise self._failure(error, path) from error
        try:
            try:
                write_all(fd, data)
                self._finish(fd, path, mode)
            finally:
                os.close(fd)
        except OSError as error:
            self.unlink(path)
            raise failure(error, path) from error

    def stage_stream(self, path: str, *, mode: int = 0o444) -> StagedFile:
        """As ``stage``, for bytes that come in pieces."""
        self._change("create", path)
        try:
            return StagedFile(self, path, os.open(path, _NEW_FILE, mode), mode)
        except OSError as error:
            raise self._failure(error, path) from error

    def _finish(self, fd: int, path: str, mode: int) -> None:
        if mode & self.umask:
            os.fchmod(fd, mode)
        system_calls.stamp(fd, path)

    def symlink(self, target: str, path: str) -> None:
        """A symbolic link with this text, verbatim."""
        self._change("symlink", path)
        try:
            os.symlink(target, path)
        except OSError as error:
            raise self._failure(error, path) from error

    # -- names of files --------------------------------------------------------------------------------

    def publish(self, source: str, target: str) -> bool:
        """Give a staged file its place unless something stands there; nothing is ever replaced.

        True: it is there now and ``source`` is gone. False: something was there, ``source`` still is.
        LeaseLost: ``source`` or its folder is gone. A missing folder of ``target`` is made.
        """
        while True:
            self._change("publish", source, target)
            try:
                if not self.has_noreplace:
                    return self._publish_by_link(source, target)
                system_calls.rename_noreplace(source, target)
            except OSError as error:
                if error.errno == errno.EEXIST:
                    return False
                if error.errno in _NO_NOREPLACE and self.has_noreplace:
                    self.has_noreplace = False  # this file system cannot: link and unlink from now on
                elif error.errno != errno.ENOENT or not self._made_way(source, target):
                    raise self._failure(error, source, target) from error
            else:
                return True

    def put_back(self, source: str, target: str) -> bool:
        """As ``publish``, out of a trash folder. False: something stands at its place, or it left the trash.

        The second is a reader that has put it back itself. LeaseLost: the trash folder is gone.
        """
        try:
            return self.publish(source, target)
        except LeaseLost:
            if os.path.lexists(os.path.dirname(source)):
                return False
            raise

    def _publish_by_link(self, source: str, target: str) -> bool:
        """The same in two steps; a crash between them leaves a second name in the staging folder."""
        try:
            os.link(source, target)
        except FileExistsError:
            # a network file system may answer so to its own repeated success (local-cas section 9, 8)
            if not os.path.samefile(source, target):
                return False
        self.unlink(source)
        return True

    def replace(self, source: str, target: str) -> None:
        """Rename over ``target``: for refs and derived data, never for an object of a working volume.

        LeaseLost: ``source`` is gone. A missing folder of ``target`` is made (D-32: somebody pruned it).
        """
        while True:
            self._change("replace", source, target)
            refuse_links(self.layout, target)
            try:
                os.rename(source, target)
            except OSError as error:
                if error.errno != errno.ENOENT or not self._made_way(source, target):
                    raise self._failure(error, source, target) from error
            else:
                return

    def link(self, source: str, target: str) -> bool:
        """A second name. False: not possible here (EMLINK, EXDEV, EPERM), copy instead.

        Raises FileNotFoundError when ``source`` is gone: this is for callers inside the store, who know
        what that means. LeaseLost: the staging folder of ``target`` is gone.
        """
        self._change("link", source, target)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            if error.errno == errno.ENOENT and os.path.lexists(os.path.dirname(target)):
                raise FileNotFoundError(error.errno, error.strerror, source) from None
            raise self._failure(error, target) from error
        return True

    def take(self, source: str, target: str, *, below: str = "") -> bool:
        """Rename into a trash folder. False: ``source`` is gone. LeaseLost: the trash folder is.

        VolumeFailed: a folder above ``source`` is a symbolic link, so it is not ours (I9); ``below``: as for
        ``refuse_links``.
        """
        self._change("take", source, target)
        refuse_links(self.layout, source, below=below)
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno == errno.ENOENT and os.path.lexists(os.path.dirname(target)):
                return False
            raise self._failure(error, target) from error
        return True

    def unlink(self, path: str, *, was: os.stat_result | None = None) -> os.stat_result | None:
        """Remove one name; what it was before, with the number of names it had. None: it was gone.

        ``was``: the caller has just looked, and nobody can have given it another name since.
        """
        self._change("unlink", path)
        refuse_links(self.layout, path)
        try:
            was = was or os.lstat(path)
            os.unlink(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, path) from error
        return was

    # -- folders ---------------------------------------------------------------------------------------

    def make_folder(self, path: str, *, mode: int = 0o777) -> bool:
        """True: made now, ``mode`` less the umask. False: it was there."""
        self._change("make_folder", path)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._failure(error, path) from error
        return True

    def make_folders(self, path: str) -> None:
        """The folder and those above it, as far as they are missing."""
        while not os.path.isdir(path):
            missing, above = path, os.path.dirname(path)
            while not os.path.isdir(above):
                missing, above = above, os.path.dirname(above)
            self._change("make_folder", missing)
            try:
                os.mkdir(missing)
            except FileExistsError:
                with suppress(FileNotFoundError):  # pruned again
                    if not stat.S_ISDIR(os.lstat(missing).st_mode) and not os.path.isdir(missing):
                        raise VolumeFailed("a file stands where a folder belongs", missing) from None
            except FileNotFoundError:
                continue  # somebody pruned the folder above in the meantime (D-32)
            except OSError as error:
                raise failure(error, missing) from error

    def move_folder(self, source: str, target: str, *, make_way: bool = True) -> Outcome:
        """Rename a folder: DONE, GONE (no ``source``) or THEIRS (``target`` is taken).

        The fence, and an extract going into its place. LeaseLost: the folder of ``target`` below ``tmp/``
        or ``trash/`` is gone; any other missing folder of ``target`` is made, or GONE without ``make_way``.
        """
        while True:
            self._change("move_folder", source, target)
            refuse_links(self.layout, source, target)
            try:
                os.rename(source, target)
            except OSError as error:
                if error.errno in _THERE:
                    return Outcome.THEIRS
                if error.errno != errno.ENOENT:
                    raise self._failure(error, source, target) from error
                if make_way and self._made_way(source, target):
                    continue
                if make_way and self.layout.owner(target) is not None and os.path.lexists(source):
                    raise self._failure(error, target) from error
                return Outcome.GONE
            else:
                return Outcome.DONE

    def remove_folder(self, path: str) -> Outcome:
        """Remove an empty folder: DONE, NOT_EMPTY or GONE."""
        self._change("remove_folder", path)
        refuse_links(self.layout, path)
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno in _THERE:
                return Outcome.NOT_EMPTY
            if error.errno == errno.ENOENT:
                return Outcome.GONE
            raise failure(error, path) from error
        return Outcome.DONE

    # -- what a name stands for ------------------------------------------------------------------------

    def touch(self, path: str) -> bool:
        """Age = now, by the volume's clock and when applied. False: it is gone."""
        self._change("touch", path)
        try:
            return system_calls.touch(path)
        except OSError as error:
            raise failure(error, path) from error

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode of a file or folder."""
        self._change("chmod", path)
        refuse_links(self.layout, path)
        try:
            os.chmod(path, mode)
        except OSError as error:
            raise self._failure(error, path) from error

    def settle_times(self, path: str) -> None:
        """The constant modification time for what is adopted; its age stays."""
        self._change("settle_times", path)
        try:
            system_calls.settle_times(path)
        except OSError as error:
            raise self._failure(error, path) from error

    def sync(self) -> None:
        """Everything changed so far survives a power cut (I3: before a ref names it)."""
        self._change("sync", self.layout.root)
        try:
            fd = os.open(self.layout.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                system_calls.syncfs(fd, self.layout.root)
            finally:
                os.close(fd)
        except OSError as error:
            raise failure(error, self.layout.root) from error

    # -- what an error means ---------------------------------------------------------------------------

    def _made_way(self, source: str, target: str) -> bool:
        """After ENOENT: whether only the folder of ``target`` was missing, and is made now.

        Never for a folder of an operation or a cleanup: that would undo the fence.
        """
        if not os.path.lexists(source) or self.layout.owner(target) is not None:
            return False
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            self.make_folders(folder)
        return True

    def _failure(self, error: OSError, *paths: str) -> CaskeeperError:
        """As ``failure``; ENOENT in the folder of an operation or a cleanup is LeaseLost (the fence)."""
        if error.errno == errno.ENOENT:
            for path in paths:
                owned = self.layout.owner(path)
                if owned is not None:
                    return LeaseLost(f"the folder of {os.path.basename(owned)} was taken away", owned)
        return failure(error, paths[0])
