"""Pieces of a blob on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def behind(pieces: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """``pieces`` without the first ``offset`` bytes, which the other side has already."""
    for piece in pieces:
        if offset >= len(piece):
            offset -= len(piece)
        else:
            yield piece[offset:] if offset else piece
            offset = 0
