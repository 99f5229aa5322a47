"""A BlobAccess beside which some blobs are at hand, so that no verb asks for what it composed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.protocols import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import PeerBlobs, Piece


class Known:
    """``blobs``, and the messages of a view: read from memory, and never missing."""

    def __init__(self, blobs: PeerBlobs, at_hand: Mapping[Digest, bytes]) -> None:
        self._blobs = blobs
        self._at_hand = at_hand

    def unhashed(self) -> Known:
        return Known(self._blobs.unhashed(), self._at_hand)

    @property
    def batch_limit_bytes(self) -> int:
        return self._blobs.batch_limit_bytes

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        others = [digest for digest in digests if digest not in self._at_hand]
        return self._blobs.find_missing(others) if others else set()

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, Piece]]:
        others = [digest for digest in digests if digest not in self._at_hand]
        found = dict(self._blobs.read_batch(others)) if others else {}
        return [
            (digest, self._at_hand[digest] if digest in self._at_hand else found[digest])
            for digest in digests
            if digest in self._at_hand or digest in found
        ]

    def read_stream(self, digest: Digest) -> Iterator[Piece]:
        data = self._at_hand.get(digest)
        if data is None:
            yield from self._blobs.read_stream(digest)
            return
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        self._blobs.write_batch(blobs)

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        self._blobs.write_stream(digest, chunks)
