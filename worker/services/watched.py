"""A BlobAccess that remembers its own failures, so that a failed copy can be laid at one door."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from caskeeper.errors import CaskeeperError
from worker.services.known import Known

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import PeerBlobs, Piece

Made = TypeVar("Made")


class Watched:
    """A remote's BlobAccess while a verb uses it.

    A pull goes on to the next remote when this one failed and stops when the store did; a push the same
    way round (D-17, D-18). Both sides raise the same classes, so the failure itself is what is compared.
    """

    def __init__(self, blobs: PeerBlobs, need: Callable[[], None] = lambda: None) -> None:
        """``need`` is called before content moves; what it raises is no failure of the watched side."""
        self._blobs = blobs
        self._need = need
        self._failures: list[CaskeeperError] = []
        self._foreign: list[CaskeeperError] = []

    def caused(self, failure: CaskeeperError) -> bool:
        """Whether ``failure`` came out of the watched side."""
        return any(own is failure for own in self._failures)

    def knowing(self, at_hand: Mapping[Digest, bytes]) -> Watched:
        """The same side, whose failures are this one's too, with some blobs at hand."""
        return self._with(Known(self._blobs, at_hand))

    def unhashed(self) -> Watched:
        """The same side without its hashing, for a copy from or to the store; its failures are this one's."""
        return self._with(self._blobs.unhashed())

    def _with(self, blobs: PeerBlobs) -> Watched:
        other = Watched(blobs, self._need)
        other._failures, other._foreign = self._failures, self._foreign
        return other

    def foreign(self, make: Callable[[], Made]) -> Callable[[], Made]:
        """``make``, for the watched side to call: what fails in there is the other side's."""

        def made() -> Made:
            try:
                return make()
            except CaskeeperError as failure:
                self._foreign.append(failure)
                raise

        return made

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What fails in here is a failure of the watched side."""
        try:
            yield
        except CaskeeperError as failure:
            if not any(other is failure for other in self._foreign):
                self._failures.append(failure)
            raise

    @property
    def batch_limit_bytes(self) -> int:
        with self.watching():
            return self._blobs.batch_limit_bytes

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        with self.watching():
            return self._blobs.find_missing(digests)

    def read_batch(self, digests: Sequence[Digest]) -> Sequence[tuple[Digest, Piece]]:
        self._need()
        with self.watching():
            return self._blobs.read_batch(digests)

    def read_stream(self, digest: Digest) -> Iterator[Piece]:
        self._need()
        with self.watching():
            chunks = iter(self._blobs.read_stream(digest))
        while True:
            with self.watching():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        self._need()
        with self.watching():
            self._blobs.write_batch(blobs)

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        """What ``chunks`` raises is the other side's, even when this side reports it as its own."""
        self._need()
        noted = _Noted(chunks)
        try:
            self._blobs.write_stream(digest, noted)
        except CaskeeperError as failure:
            if not noted.failures:
                self._failures.append(failure)
            raise


class _Noted:
    """``chunks``, and whether iterating them failed. As repeatable as they are."""

    def __init__(self, chunks: Iterable[Piece]) -> None:
        self._chunks = chunks
        self.failures: list[Exception] = []

    def __iter__(self) -> Iterator[Piece]:
        try:
            yield from self._chunks
        except Exception as failure:
            self.failures.append(failure)
            raise
