"""Looking at stored content, without an operation (safety.md section 3, readers).

Promises: a miss is a miss only after a look at the object's place, at every trash folder (what a cleanup
has taken and not unlinked is put back), and at its place again. What comes out whole is what its digest
says. Promises nothing about the next moment: nothing here makes an object young.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest, Hasher
from caskeeper.errors import BlobMissing, DigestMismatch, LeaseLost
from worker.directory import Directory, check_size, parse
from worker.protocols import CHUNK_BYTES
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.store.volume import Volume

#: What a trash folder calls an object: this and the hash.
OBJECT_IN_TRASH = "o-"


def hash_of(fd: int, path: str) -> Digest:
    """The digest of everything from the present position of ``fd`` on."""
    hasher, size_bytes = Hasher(), 0
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        while count := os.readv(fd, [buffer]):
            hasher.update(view[:count])
            size_bytes += count
    except OSError as error:
        raise failure(error, path) from error
    return Digest(hasher.hexdigest(), size_bytes)


def mismatch(digest: Digest, path: str) -> DigestMismatch:
    """Which of the two is wrong when the file at ``path`` is not as long as ``digest`` says.

    Nothing replaces or removes an object here (I9): the reader is told what to do.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            found = hash_of(fd, path)
        finally:
            os.close(fd)
    except OSError as error:
        raise failure(error, path) from error
    if found.hash == digest.hash:
        return DigestMismatch(f"{digest} claims another size than the {found.size_bytes} bytes it names")
    return damaged(digest, path)


def damaged(digest: Digest, path: str) -> DigestMismatch:
    """The error for a stored file whose bytes are not its digest's."""
    return DigestMismatch(
        f"the stored file of {digest} is damaged",
        path,
        "check the disk, move this file out of the cache, and pull or commit the artifact again",
    )


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

    def stat(self, hash_hex: str) -> os.stat_result | None:
        """The object's file at its place, or None."""
        path = self._layout.object(hash_hex)
        try:
            return os.stat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, path) from error

    def open(self, digest: Digest) -> int:
        """A descriptor to read it from, which the caller closes.

        Raises BlobMissing; DigestMismatch when its size is another one.
        """
        path = self._layout.object(digest.hash)
        fd = self._open(path)
        if fd is None:
            fd = self._out_of_trash(digest.hash, path)
        if fd is None:
            raise BlobMissing(str(digest), path)
        try:
            right = os.fstat(fd).st_size == digest.size_bytes
        except OSError as error:
            os.close(fd)
            raise failure(error, path) from error
        if not right:
            os.close(fd)
            raise mismatch(digest, path)
        return fd

    def read(self, digest: Digest) -> bytes:
        """The whole blob, verified. For small ones. BlobMissing, DigestMismatch, VolumeFailed."""
        if digest == EMPTY:
            return b""
        fd = self.open(digest)
        path = self._layout.object(digest.hash)
        try:
            data = os.read(fd, digest.size_bytes + 1)
            while len(data) < digest.size_bytes and (more := os.read(fd, digest.size_bytes - len(data))):
                data += more
        except OSError as error:
            raise failure(error, path) from error
        finally:
            os.close(fd)
        if Hasher(data).hexdigest() != digest.hash:
            raise damaged(digest, path)
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
        matched. BlobMissing comes with the first piece, DigestMismatch and VolumeFailed with any.
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
                    raise damaged(digest, path)
                offset += len(chunk)
                if hasher is not None:
                    hasher.update(chunk)
                    if offset == end and hasher.hexdigest() != digest.hash:
                        raise damaged(digest, path)
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

    def _open(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, path) from error

    def _out_of_trash(self, hash_hex: str, place: str) -> int | None:
        """Fetch an object from the cleanup, running or dead, that has taken it, and open it at its place.

        A cleanup that recovers another's folder renames it, and it may slip between two of our looks:
        only when no folder came or went meanwhile was everything looked at.
        """
        before: list[str] | None = None
        while (cleanups := self._cleanups()) != before:
            for cleanup_id in cleanups:
                self._put_back(cleanup_id, hash_hex, place)
            fd = self._open(place)
            if fd is not None:
                return fd
            before = cleanups
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
