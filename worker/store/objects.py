"""Looking at stored content, without an operation (safety.md section 3, readers).

Promises: a miss is a miss only after a look at the object's place, at every trash folder (what a cleanup
has taken and not unlinked is put back), and at its place again, in folders that are the volume's own. What
comes out whole is what its digest says. Promises nothing about the next moment: nothing here makes an
object young.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, TypeVar

from caskeeper.digest import EMPTY, Digest, Hasher
from caskeeper.errors import Busy, CaskeeperError, LeaseLost
from worker.directory import Directory, check_size, parse
from worker.protocols import CHUNK_BYTES
from worker.store.damage import ObjectDamaged, Verdict, damaged, examine, missing, wrong_size
from worker.store.failures import failure
from worker.store.format import without_age
from worker.store.whole import refuse_out_of_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.store.volume import Volume

Trouble = TypeVar("Trouble", bound=CaskeeperError)
#: What a trash folder calls an object: this and the hash.
OBJECT_IN_TRASH = "o-"
#: A link is never followed, and whatever else may stand there is opened without waiting for its other end.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
#: How often a file that changes under its reader is looked at again.
_LOOKS = 8


def _nobody(_trouble: ObjectDamaged) -> None:
    """Nobody wants to know."""


def is_file(path: str) -> bool:
    """Whether a regular file stands there itself; False also for what is gone."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise failure(error, path) from error


class Objects:
    """Reading by digest. Safe to use from several threads."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._layout = volume.layout
        #: told of every damaged file that a reader meets; a server's takes it away
        self.on_damage: Callable[[ObjectDamaged], None] = _nobody

    def told(self, trouble: Trouble) -> Trouble:
        """``trouble``, which is about to be raised, once whoever wants to know of it does."""
        if isinstance(trouble, ObjectDamaged):
            self.on_damage(trouble)
        return trouble

    def stat(self, hash_hex: str) -> os.stat_result | None:
        """What stands at the object's place, or None. VolumeFailed: its folder is not there (I10)."""
        path = self._layout.object(hash_hex)
        try:
            return os.lstat(path)
        except FileNotFoundError:
            refuse_out_of_reach(self._layout, path)
            return None
        except OSError as error:
            raise failure(error, path) from error

    def open(self, digest: Digest) -> int:
        """A descriptor to read it from, which the caller closes.

        Raises ObjectMissing; ObjectDamaged for what is no file of its size, DigestMismatch when ``digest``
        claims another size than the object has.
        """
        path = self._layout.object(digest.hash)
        for _look in range(_LOOKS):
            fd = self._open(path, digest)
            if fd is None:
                fd = self._out_of_trash(digest, path)
            if fd is None:
                raise missing(digest, path)
            try:
                status = os.fstat(fd)
            except OSError as error:
                os.close(fd)
                raise failure(error, path) from error
            if stat.S_ISREG(status.st_mode) and status.st_size == digest.size_bytes:
                return fd
            os.close(fd)
            trouble = wrong_size(digest, path)
            if trouble is not None:
                raise self.told(trouble)
        raise Busy("it is replaced again and again", path)

    def examine(self, digest: Digest, *, check: Callable[[], None] = lambda: None) -> Verdict:
        """What the bytes say, at its place or in a cleanup's hands. Nothing is made younger."""
        path = self._layout.object(digest.hash)
        verdict = examine(path, digest.hash, check=check).verdict
        if verdict is Verdict.GONE and digest != EMPTY and self.find(digest):
            verdict = examine(path, digest.hash, check=check).verdict
        return Verdict.GOOD if digest == EMPTY else verdict

    def find(self, digest: Digest) -> bool:
        """Whether something stands at its place, after a look into every trash folder (section 3)."""
        if self.stat(digest.hash) is None:
            fd = self._out_of_trash(digest, self._layout.object(digest.hash))
            if fd is None:
                return False
            os.close(fd)
        return True

    def read(self, digest: Digest) -> bytes:
        """The whole blob, verified; for small ones. What ``open`` raises, ObjectDamaged, VolumeFailed."""
        data = self.content(digest)
        if Hasher(data).hexdigest() != digest.hash:
            raise self.told(damaged(digest, self._layout.object(digest.hash)))
        return data

    def content(self, digest: Digest) -> bytes:
        """The whole blob, of the size that ``digest`` says but unverified otherwise; as ``read``."""
        if digest == EMPTY:
            return b""
        path = self._layout.object(digest.hash)
        try:  # what is the rule: it is there, and one byte more was not to be had
            fd = os.open(path, _OPEN | os.O_NOATIME)
            try:
                data = os.read(fd, digest.size_bytes + 1)
            finally:
                os.close(fd)
            if len(data) == digest.size_bytes:
                return data
        except OSError:
            pass  # looked at more closely
        fd = self.open(digest)
        try:
            data = os.read(fd, digest.size_bytes + 1)
            while len(data) < digest.size_bytes and (more := os.read(fd, digest.size_bytes - len(data))):
                data += more
        except OSError as error:
            raise failure(error, path) from error
        finally:
            os.close(fd)
        if len(data) != digest.size_bytes:
            raise self.told(damaged(digest, path))
        return data

    def stream(
        self,
        digest: Digest,
        *,
        offset: int = 0,
        limit: int | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        verify: bool = True,
    ) -> Iterator[bytes]:
        """The bytes from ``offset`` on, at most ``limit``, in pieces.

        A blob read whole is verified unless ``verify`` is off: its last piece comes only after all of it
        matched. What ``open`` raises comes with the first piece, ObjectDamaged and VolumeFailed with any.
        """
        end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
        if digest == EMPTY or offset >= end:
            return
        hasher = Hasher() if verify and offset == 0 and end == digest.size_bytes else None
        path = self._layout.object(digest.hash)
        fd = self.open(digest)
        try:
            while offset < end:
                chunk = os.pread(fd, min(chunk_bytes, end - offset), offset)
                if not chunk:
                    raise self.told(damaged(digest, path))
                offset += len(chunk)
                if hasher is not None:
                    hasher.update(chunk)
                    if offset == end and hasher.hexdigest() != digest.hash:
                        raise self.told(damaged(digest, path))
                yield chunk
        except OSError as error:
            raise failure(error, path) from error
        finally:
            os.close(fd)

    def directory(self, digest: Digest) -> Directory:
        """The Directory message of this digest. EMPTY is the empty directory and never looked for.

        Raises InvalidRequest, before it is read, for what is too large for one, and what ``parse`` raises.
        """
        check_size(digest)
        return parse(self.read(digest), digest)

    def _open(self, path: str, digest: Digest) -> int | None:
        try:
            return without_age(path, _OPEN)  # looking is no use
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise self.told(damaged(digest, path)) from error
            raise failure(error, path) from error

    def _out_of_trash(self, digest: Digest, place: str) -> int | None:
        """Fetch an object from the cleanup, running or dead, that has taken it, and open it at its place.

        A cleanup that recovers another's folder renames it, and it may slip between two of our looks:
        only when no folder came or went meanwhile was everything looked at.
        """
        before: list[str] | None = None
        while (cleanups := self._cleanups()) != before:
            for cleanup_id in cleanups:
                self._put_back(cleanup_id, digest.hash, place)
            fd = self._open(place, digest)
            if fd is not None:
                return fd
            before = cleanups
        refuse_out_of_reach(self._layout, place)
        return None

    def _put_back(self, cleanup_id: str, hash_hex: str, place: str) -> None:
        taken = f"{self._layout.trash(cleanup_id)}/{OBJECT_IN_TRASH}{hash_hex}"
        if is_file(taken):
            # LeaseLost: the folder was moved between the two looks, and the next listing shows it
            with contextlib.suppress(LeaseLost):
                self.volume.put_back(taken, place)

    def _cleanups(self) -> list[str]:
        try:
            with os.scandir(self._layout.trashes) as entries:
                # what a link leads to is no cleanup's
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failure(error, self._layout.trashes) from error
