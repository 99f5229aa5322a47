"""Several storage servers as one BlobAccess: read from the first that has a blob, written to each (D-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from caskeeper.errors import BlobMissing, CaskeeperError, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import BlobAccess, Piece

Got = TypeVar("Got")


class SharedBlobs:
    """The readers' face: ``readers`` in order of priority. Nothing is written through it.

    A reader that fails is passed over; when nobody else has the blob its failure is raised, for that is no
    miss (I10).
    """

    def __init__(self, readers: Sequence[BlobAccess], *, url: str) -> None:
        self._readers = readers
        self._url = url

    def unhashed(self) -> Self:
        """Itself: one that sends other bytes is passed over, so they are looked at here."""
        return self

    @property
    def batch_limit_bytes(self) -> int:
        """The least of those that answer."""
        limits: list[int] = []
        failures: list[CaskeeperError] = []
        for reader in self._readers:
            try:
                limits.append(reader.batch_limit_bytes)
            except CaskeeperError as failure:
                failures.append(failure)
        if not limits:
            raise failures[0]
        return min(limits)

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """What no reader has."""
        missing = set(digests)
        failures: list[CaskeeperError] = []
        for reader in self._readers:
            if not missing:
                break
            try:
                missing = reader.find_missing(missing)
            except CaskeeperError as failure:
                failures.append(failure)
        if missing and failures:
            raise failures[0]
        return missing

    def read_batch(self, digests: Sequence[Digest]) -> Sequence[tuple[Digest, Piece]]:
        """Whole from one where one has them all, else piece by piece."""
        found: dict[Digest, Piece] = {}
        failures: list[CaskeeperError] = []
        for reader in self._readers:
            left = [digest for digest in dict.fromkeys(digests) if digest not in found]
            if not left:
                break
            try:
                found.update(_all_or_some(reader, left))
            except CaskeeperError as failure:
                failures.append(failure)
        lost = next((digest for digest in digests if digest not in found), None)
        if lost is not None:
            raise _telling(failures, lost, self._url)
        return [(digest, found[digest]) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[Piece]:
        """From the first that begins to send it; one that breaks off in the middle has failed."""
        failures: list[CaskeeperError] = []
        for reader in self._readers:
            chunks = iter(reader.read_stream(digest))
            try:
                first = next(chunks, None)
            except CaskeeperError as failure:
                failures.append(failure)
                continue
            if first is not None:
                yield first
                yield from chunks
            return
        raise _telling(failures, digest, self._url)

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        raise self._unwritable()

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        raise self._unwritable()

    def _unwritable(self) -> PermissionDenied:
        return PermissionDenied("none of its storage servers takes pushes", self._url)


class SharedUploads(SharedBlobs):
    """The writers' face: what any of them lacks is missing. One that fails fails the whole.

    ``writers()`` are those that take pushes now.
    """

    def __init__(
        self, readers: Sequence[BlobAccess], writers: Callable[[], Sequence[BlobAccess]], *, url: str
    ) -> None:
        super().__init__(readers, url=url)
        self._writers = writers

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        return set().union(*(writer.find_missing(digests) for writer in self._required()))

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        """To every writer what it lacks."""
        for writer in self._required():
            lacking = writer.find_missing([digest for digest, _data in blobs])
            wanted = [(digest, data) for digest, data in blobs if digest in lacking]
            if wanted:
                writer.write_batch(wanted)

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        """To every writer that lacks it; ``chunks`` is iterated once for each of them."""
        writers = self._required()
        repeatable = list(chunks) if len(writers) > 1 and iter(chunks) is chunks else chunks
        for writer in writers:
            if writer.find_missing([digest]):
                writer.write_stream(digest, repeatable)

    def _required(self) -> Sequence[BlobAccess]:
        writers = self._writers()
        if not writers:
            raise self._unwritable()
        return writers


def _all_or_some(reader: BlobAccess, digests: Sequence[Digest]) -> Sequence[tuple[Digest, Piece]]:
    try:
        return reader.read_batch(digests)
    except BlobMissing:
        missing = reader.find_missing(digests)
        there = [digest for digest in digests if digest not in missing]
        if not missing or not there:
            raise
        return reader.read_batch(there)


def _telling(failures: Sequence[CaskeeperError], digest: Digest, url: str) -> CaskeeperError:
    """What is raised for a blob that nobody gave: trouble before a miss."""
    troubles = [failure for failure in failures if not isinstance(failure, BlobMissing)]
    return next(iter([*troubles, *failures]), BlobMissing(str(digest), url))
