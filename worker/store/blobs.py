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
from caskeeper.errors import CacheTooFull, DigestMismatch, LeaseLost, NoSpace, VolumeFailed
from worker.store.arriving import Arriving
from worker.store.damage import ObjectDamaged, wrong_size
from worker.store.failures import failure
from worker.store.parallel import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from worker.protocols import Piece
    from worker.store.companion.batches import Batches
    from worker.store.objects import Objects
    from worker.store.staging import Staging

#: Blobs up to this size travel through memory whole.
BATCH_LIMIT_BYTES = 4 * 1024 * 1024
#: A touched object that stays older than the start means that the volume's clock went back: so many looks,
#: the later ones a moment apart, and then the operation gives up.
_LOOKS = 200
_MOMENT_S = 0.005
#: After so many in a row that were new, or found, the next one is taken for another such.
_ALIKE = 16
#: Small things between two looks whether to stop: a millisecond or so of them.
_CHECK_EACH = 64
#: A look at so many is divided between two processes.
_DIVIDED = 1024
#: What a look finds.
YOUNG, MISSING, TROUBLE = range(3)


class StoreBlobs:
    """BlobAccess over one volume for one operation. Safe to use from several threads."""

    batch_limit_bytes = BATCH_LIMIT_BYTES

    def __init__(self, staging: Staging, objects: Objects) -> None:
        self.staging = staging
        self.objects = objects
        self._volume = staging.volume
        self._layout = staging.volume.layout
        # Relied upon by this operation, and how long they are: they stay, for no horizon is younger than
        # its start. Not an existence cache: it ends with the operation, and a fence ends both.
        self._young: dict[str, int] = {EMPTY.hash: 0}
        self._young_executables: set[Digest] = set()
        # Looked for and not there: written without another look, for publishing sees what has come since.
        self._missed: set[Digest] = set()
        # Of what was added; threads may miscount them, nothing depends on it.
        self._new_in_a_row = self._found_in_a_row = 0

    # -- relying on what is there ----------------------------------------------------------------------

    def refresh(self, digest: Digest) -> bool:
        """Make an object young and answer whether it may be relied upon (safety.md section 9).

        False: it is not there. ObjectDamaged: something is there that is not it. DigestMismatch: ``digest``
        claims another size than it has.
        """
        hash_hex, size_bytes = digest
        if self._young.get(hash_hex) == size_bytes:
            return True
        if not self._make_young(self._layout.object(hash_hex), digest):
            return False
        self._young[hash_hex] = size_bytes
        return True

    def _make_young(self, path: str, digest: Digest, *, stamped: bool = False) -> bool:
        """Touch, then look at the *path*: a touch may land on an inode that a cleanup has just taken.

        ``stamped``: by this operation, when it staged what it has published there. That is a touch too.
        """
        for look in range(_LOOKS):
            if stamped:
                stamped = False
            elif not self._volume.touch(path):
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
        asked = list(digests)
        missing = set()
        for digest, state in zip(asked, self.states(asked), strict=True):
            if state == MISSING or (state == TROUBLE and not self.refresh(digest)):
                missing.add(digest)
        if self._missed:
            self._missed.difference_update(asked)
        self._missed.update(missing)
        return missing

    def states(self, digests: Sequence[Digest]) -> bytes:
        """YOUNG for each that is there and young now, MISSING, or TROUBLE, of which ``refresh`` tells."""
        batches = self.staging.batches
        with self._volume.turn.taken(len(digests), 0):
            if batches is None or len(digests) < _DIVIDED or not self._volume.turn.claim(batches):
                return self._states(digests)
            try:
                half = len(digests) // 2
                if not batches.look(digests[:half]):
                    return self._states(digests)
                try:
                    behind = self._states(digests[half:])
                except BaseException:
                    batches.drop()
                    raise
                before = batches.states()
            finally:
                self._volume.turn.free(batches)
            if before is None:
                before = self._states(digests[:half])
            self._young.update(
                [digest for digest, state in zip(digests, before, strict=False) if state == YOUNG]
            )
            return before + behind

    def _states(self, digests: Sequence[Digest]) -> bytes:
        states = bytearray(len(digests))  # all are YOUNG
        for number, digest in enumerate(digests):
            if not number % _CHECK_EACH:
                self.staging.check()
            try:
                if not self.refresh(digest):
                    states[number] = MISSING
            except DigestMismatch:
                states[number] = TROUBLE
        return bytes(states)

    def take_for_missed(self, digests: Collection[Digest]) -> None:
        """Another look of the same operation has missed them: they are written without one more."""
        self._missed.update(digests)

    # -- out -------------------------------------------------------------------------------------------

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, Piece]]:
        """Small blobs, whole and verified."""
        with self._volume.turn.taken(len(digests), sum([digest.size_bytes for digest in digests])):
            return [(digest, self.objects.read(digest)) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[bytes]:
        """One blob in pieces; the last one only after the whole matched."""
        return self.objects.stream(digest)

    # -- in --------------------------------------------------------------------------------------------

    @property
    def finds_most(self) -> bool:
        """Whether what was added last was here already."""
        return self._found_in_a_row >= _ALIKE

    def add(self, data: bytes) -> Digest:
        """Store these bytes under their own digest, which is answered."""
        digest = Digest.of(data)
        hash_hex, size_bytes = digest
        if self._young.get(hash_hex) == size_bytes:
            return digest
        if self._new_in_a_row >= _ALIKE:
            self.staging.announce((digest,))
            if self._store_unseen(digest, data):
                return digest
        if self.refresh(digest):
            self._new_in_a_row = 0
            self._found_in_a_row += 1
            return digest
        self._found_in_a_row = 0
        self.staging.announce((digest,))  # before there is a staged file that a failure would leave
        self._new_in_a_row += self._store(digest, data)
        return digest

    def _store_unseen(self, digest: Digest, data: Piece) -> bool:
        """Store it without a look whether it is there: publishing sees that too. False: not done.

        Nobody is asked for room, and nothing is refused, for what may be there already.
        """
        if not self.staging.spend_at_hand(self._volume.charge(digest.size_bytes)):
            return False
        try:
            if not self._store(digest, data, paid=True):
                self._new_in_a_row = 0
        except NoSpace:
            self._new_in_a_row = 0
            return False
        return True

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        """Small blobs, each published whole or not at all. DigestMismatch names the first wrong one."""
        batches = self.staging.batches
        size_bytes = sum([len(data) for _, data in blobs])
        slot = batches if batches is not None and batches.is_near else None
        with self._volume.turn.taken(len(blobs), size_bytes, slot=slot) as aside:
            if not aside:
                self._write(blobs)
                return
            if slot is not None and self._write_aside(blobs, slot):
                return
        with self._volume.turn.taken(len(blobs), size_bytes):
            self._write(blobs)

    def _write_aside(self, blobs: Sequence[tuple[Digest, Piece]], batches: Batches) -> bool:
        """In the other process; False: not done."""
        digests = [digest for digest, data in blobs if len(data) == digest.size_bytes]
        if len(digests) < len(blobs):
            return False  # and refused here

        def announce() -> bool:
            try:
                self.staging.announce(digests)  # which is more than need be where some are there
            except (CacheTooFull, NoSpace):
                return False  # and nothing is refused for those
            return True

        try:
            if not batches.write(blobs, missed=self._missed.issuperset(digests), announce=announce):
                return False
        except ObjectDamaged as trouble:
            self.objects.told(trouble)  # to the listeners of this call's objects
            raise
        self._missed.difference_update(digests)
        self._young.update(digests)
        return True

    def _write(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        absent: dict[Digest, Piece] = {}
        for number, (digest, data) in enumerate(blobs):
            if not number % _CHECK_EACH:
                self.staging.check()
            if len(data) != digest.size_bytes or Hasher(data).hexdigest() != digest.hash:
                raise DigestMismatch(f"{len(data)} bytes came as {digest}")
            if digest in self._missed or not self.refresh(digest):
                absent[digest] = data
        if absent:
            self.staging.announce(absent)  # all of them in one step
        for number, (digest, data) in enumerate(absent.items()):
            if not number % _CHECK_EACH:
                self.staging.check()
            if digest in self._missed:
                self._missed.discard(digest)
                if self._store_unseen(digest, data) or self.refresh(digest):
                    continue
            self._store(digest, data)

    def _store(self, digest: Digest, data: Piece, *, paid: bool = False) -> bool:
        """``write`` of safety.md section 9. False: something was there, and is relied upon.

        ``paid``: it is spent already.
        """
        hash_hex, size_bytes = digest
        path, charged = self._layout.object(hash_hex), self._volume.charge(size_bytes)
        store = self.staging.store
        published = young = False
        while not young:
            published, paid = store(data, path, charged=charged, paid=paid), False
            young = self._make_young(path, digest, stamped=published)
        self._young[hash_hex] = size_bytes
        return published

    def write_stream(self, digest: Digest, chunks: Iterable[bytes | memoryview]) -> None:
        """One blob in pieces, published whole when the last one has come and all match.

        What is there already is made young, and ``chunks`` is not asked for anything.
        """
        if not self.refresh(digest):
            self.staging.announce((digest,))
            self._stream_in(digest, chunks, self._layout.object(digest.hash), mode=0o444)
            self._rely(lambda: self.refresh(digest), digest)

    def receive(self, digest: Digest) -> Arriving:
        """A blob whose pieces the caller brings, in its own time; ``complete`` or ``discard`` it."""
        return Arriving(self.staging, digest.size_bytes, expected=digest)

    def complete(self, arriving: Arriving) -> None:
        """The last piece has come: publish it whole. DigestMismatch: it is to be discarded."""
        digest = arriving.finish()
        self.staging.announce((digest,))
        arriving.publish(self._layout.object(digest.hash))
        self._rely(lambda: self.refresh(digest), digest)

    def add_stream(self, size_bytes: int, chunks: Iterable[bytes | memoryview]) -> Digest:
        """Store ``size_bytes`` bytes whose digest is not known yet, and answer it.

        One pass: read, hash and write together, each chunk before the next is asked for. DigestMismatch when
        fewer or more come.
        """
        staged, digest = self._staged(size_bytes, chunks, mode=0o444, expected=None)
        if digest == EMPTY or self.refresh(digest):
            self.staging.discard(staged, size_bytes=size_bytes)
        else:
            self.staging.announce((digest,))
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
            if digest.size_bytes <= SMALL_BYTES:
                data, charged = self.objects.read(digest), self._volume.charge(digest.size_bytes)
                self.staging.store(data, path, charged=charged, paid=False, mode=0o555)
            else:
                self._stream_in(digest, self.objects.stream(digest), path, mode=0o555)
            self._rely(lambda: self._make_young(path, digest), digest)
        self._young_executables.add(digest)
        return path

    def _stream_in(
        self, digest: Digest, chunks: Iterable[bytes | memoryview], target: str, *, mode: int
    ) -> None:
        staged, _ = self._staged(digest.size_bytes, chunks, mode=mode, expected=digest)
        self.staging.publish(staged, target, size_bytes=digest.size_bytes)

    def _staged(
        self,
        size_bytes: int,
        chunks: Iterable[bytes | memoryview],
        *,
        mode: int,
        expected: Digest | None,
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
