"""Whether what travels is hashed here, or by the other side of a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from caskeeper.digest import Hasher

if TYPE_CHECKING:
    from caskeeper.digest import Digest
    from worker.protocols import Piece


class Hashing(Protocol):
    """What ``hashlib`` makes, as far as it is used here."""

    def update(self, data: Piece, /) -> None:
        """The next piece."""

    def hexdigest(self) -> str:
        """The hash of all pieces."""


class _Believing:
    """Takes every piece for what its digest says: somebody else looks."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest

    def update(self, _data: Piece, /) -> None:
        """Nothing."""

    def hexdigest(self) -> str:
        return self._digest.hash


def hasher_of(digest: Digest, *, hashes: bool) -> Hashing:
    """For the pieces of ``digest``; without ``hashes`` one that agrees with everything."""
    return Hasher() if hashes else _Believing(digest)
