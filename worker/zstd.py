"""zstd on the wire, both sides: what goes out is cheap to make, what comes in is bounded.

Nothing here trusts a frame's own figures: output comes in pieces, the window is limited, and whoever asks
says how many bytes there may be. That the bytes are the right ones is the digest's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from caskeeper.errors import DigestMismatch
from worker.protocols import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.protocols import Piece

#: The fastest of the standard levels (docs/decisions/0007).
LEVEL = 1
#: What every decoder of the standard takes (RFC 8878); a larger window is memory for the asking.
WINDOW_BYTES = 8 * 1024 * 1024
#: Pieces of the source between two pieces that go out.
SOURCE_BYTES = CHUNK_BYTES // 2
#: A sender that flushes often sends many headers; beyond this it only keeps us busy.
_MARGIN_BYTES = CHUNK_BYTES


def most_bytes(size_bytes: int) -> int:
    """What ``size_bytes`` bytes may weigh compressed, however badly: more is no honest stream."""
    return 2 * size_bytes + _MARGIN_BYTES


def compressed(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """``pieces`` as one frame, in pieces not much longer than theirs."""
    frame = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    for piece in pieces:
        if part := frame.compress(piece):
            yield part
    if part := frame.flush():
        yield part


def decompressed(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """What the frames in ``pieces`` hold, in pieces of bounded size; ``pieces`` is used up in the end.

    Raises DigestMismatch for what is no zstd, or wants a larger window. A frame that is cut short ends
    quietly: the size tells.
    """
    source = _Source(pieces)
    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).stream_reader(
        source,  # type: ignore[arg-type]  # it asks for `read` only
        read_across_frames=True,
        closefd=False,
    )
    while True:
        try:
            part = reader.read(CHUNK_BYTES)
        except zstandard.ZstdError as error:
            raise DigestMismatch(f"what came compressed is no zstd stream: {error}") from None
        if not part:
            return
        yield part


def pack(data: Piece) -> bytes:
    """A small blob as one frame."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def unpack(data: Piece, *, size_bytes: int) -> bytes:
    """A small blob out of its frame. DigestMismatch when it holds more than ``size_bytes``, or is none."""
    parts, found = [], 0
    for part in decompressed((data,)):
        found += len(part)
        if found > size_bytes:
            raise DigestMismatch(f"more than {size_bytes} bytes came compressed")
        parts.append(part)
    return b"".join(parts)


class _Source:
    """Pieces as the decompressor wants to read them: any length, nothing at the end."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = iter(pieces)

    def read(self, _size: int = -1) -> bytes:
        for piece in self._pieces:
            if piece:
                return bytes(piece)
        return b""
