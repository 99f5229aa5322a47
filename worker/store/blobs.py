"""The store's BlobAccess, bound to an operation: whoever relies on an object makes it young first (I4).

Promises: an object appears only whole, hashed, read-only and with the constant modification time (I1);
nothing replaces it; what was added is counted once. After a fence every write raises LeaseLost.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest, Hasher
from caskeeper.errors import DigestMismatch, LeaseLost, VolumeFailed
from worker.store.arriving import Arriving
from worker.store.damage import wrong_size
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from worker.store.objects import Objects
    from worker.store.staging import Staging

#: Blobs up to this size travel through memory whole.
BATCH_LIMIT_BYTES = 4 * 1024 * 1024
#: A touched object that stays older than the start means that the volume's clock went back: so many looks,
#: the later ones a moment apart, and then the operation gives up.
_LOOKS = 200
_MOMENT_S = 0.005


class StoreBlobs:
    """BlobAccess over one volume for one operation. Safe to use from several threads."""

    batch_limit_bytes = BATCH_LIMIT_BYTES

    def __init__(self, staging: Staging, objects: Objects) -> None:
        self.staging = staging
        self.objects = objects
        self._volume = staging.volume
        self._layout = staging.volume.layout
        # Relied upon by this operation: they stay, for no horizon is younger than its start. Not an
        # existence cache: it ends with the operation, and a fence ends both.
        self._young: set[Digest] = set()
        self._young_executables: set[Digest] = set()

    # -- relying on what is there ----------------------------------------------------------------------

    def refresh(self, digest: Digest) -> bool:
        """Make an object young and answer whether it may be relied upon (safety.md section 9).

        False: it is not there. ObjectDamaged: something is there that is not it. DigestMismatch: ``digest``
        claims another size than it has.
        """
        if digest in self._young or digest == EMPTY:
            return True
        if not self._make_young(self._layout.object(digest.hash), digest):
            return False
        self._young.add(digest)
        return True

    def _make_young(self, path: str, digest: Digest) -> bool:
        """Touch, then look at the *path*: a touch may land on an inode that a cleanup has just taken."""
        for look in range(_LOOKS):
            if not self._volume.touch(path):
                return False
            try:
                there = os.lstat(path)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise failure(error, path) from error
            if there.st_atime_ns >= self.staging.start_ns:
                if stat.S_ISREG(there.st_mode) and there.st_size == digest.size_bytes:
                    return True
                trouble = wrong_size(digest, path)
                if trouble is not None:
                    raise self.objects.told(trouble)
                continue  # it was healed between the two looks
            if look:
                time.sleep(_MOMENT_S)
        raise VolumeFailed(
            "its clock is behind the start of this operation", path, "set the clock of the volume's host"
        )

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those that are not there; the others are young now."""
        missing = set()
        for digest in digests:
            self.staging.check()
            if not self.refresh(digest):
                missing.add(digest)
        return missing

    # -- out -------------------------------------------------------------------------------------------

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, bytes]]:
        """Small blobs, whole and verified."""
        return [(digest, self.objects.read(digest)) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[bytes]:
        """One blob in pieces; the last one only after the whole matched."""
        return self.objects.stream(digest)

    # -- in --------------------------------------------------------------------------------------------

    def add(self, data: bytes) -> Digest:
        """Store these bytes under their own digest, which is answered."""
        digest = Digest.of(data)
        self._store(digest, data)
        return digest

    def write_batch(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        """Small blobs, each published whole or not at all. DigestMismatch names the first wrong one."""
        for digest, data in blobs:
            self.staging.check()
            if len(data) != digest.size_bytes or Hasher(data).hexdigest() != digest.hash:
                raise DigestMismatch(f"{len(data)} bytes came as {digest}")
            self._store(digest, data)

    def _store(self, digest: Digest, data: bytes) -> None:
        """``write`` of safety.md section 9. Whoever publishes second relies on the first one's file."""
        while not self.refresh(digest):
            self.staging.announce(digest)  # before there is a staged file that a failure would leave
            staged = self.staging.stage(data)
            self.staging.publish(staged, self._layout.object(digest.hash), size_bytes=len(data))

    def write_stream(self, digest: Digest, chunks: Iterable[bytes]) -> None:
        """One blob in pieces, published whole when the last one has come and all match.

        What is there already is made young, and ``chunks`` is not asked for anything.
        """
        if not self.refresh(digest):
            self.staging.announce(digest)
            self._stream_in(digest, chunks, self._layout.object(digest.hash), mode=0o444)
            self._rely(lambda: self.refresh(digest), digest)

    def receive(self, digest: Digest) -> Arriving:
        """A blob whose pieces the caller brings, in its own time; ``complete`` or ``discard`` it."""
        return Arriving(self.staging, digest.size_bytes, expected=digest)

    def complete(self, arriving: Arriving) -> None:
        """The last piece has come: publish it whole. DigestMismatch: it is to be discarded."""
        digest = arriving.finish()
        self.staging.announce(digest)
        arriving.publish(self._layout.object(digest.hash))
        self._rely(lambda: self.refresh(digest), digest)

    def add_stream(self, size_bytes: int, chunks: Iterable[bytes]) -> Digest:
        """Store ``size_bytes`` bytes whose digest is not known yet, and answer it.

        One pass: read, hash and write together. DigestMismatch when fewer or more come.
        """
        staged, digest = self._staged(size_bytes, chunks, mode=0o444, expected=None)
        if digest == EMPTY or self.refresh(digest):
            self.staging.discard(staged, size_bytes=size_bytes)
        else:
            self.staging.announce(digest)
            self.staging.publish(staged, self._layout.object(digest.hash), size_bytes=size_bytes)
            self._rely(lambda: self.refresh(digest), digest)
        return digest

    def executable(self, digest: Digest) -> str:
        """The path of the same content as an executable inode, made when it is missing.

        Refreshed and counted like an object. BlobMissing when there is no such object to copy.
        """
        path = self._layout.executable(digest.hash)
        if digest in self._young_executables:
            return path
        if not self._make_young(path, digest):
            self._stream_in(digest, self.objects.stream(digest), path, mode=0o555)
            self._rely(lambda: self._make_young(path, digest), digest)
        self._young_executables.add(digest)
        return path

    def _stream_in(self, digest: Digest, chunks: Iterable[bytes], target: str, *, mode: int) -> None:
        staged, _ = self._staged(digest.size_bytes, chunks, mode=mode, expected=digest)
        self.staging.publish(staged, target, size_bytes=digest.size_bytes)

    def _staged(
        self, size_bytes: int, chunks: Iterable[bytes], *, mode: int, expected: Digest | None
    ) -> tuple[str, Digest]:
        """A staged file of exactly ``size_bytes`` bytes, hashed on the way in, and its digest."""
        arriving = Arriving(self.staging, size_bytes, expected=expected, mode=mode)
        try:
            for chunk in chunks:
                arriving.write(chunk)
            found = arriving.finish()
        except BaseException:
            arriving.discard()
            raise
        return arriving.path, found

    def _rely(self, refreshed: Callable[[], bool], digest: Digest) -> None:
        """What was published a moment ago is young, so only a fence can have taken it away."""
        if not refreshed():
            raise LeaseLost(f"{digest} was taken away as soon as it was published", self.staging.folder)
