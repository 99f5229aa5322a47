"""Sizes as people write and read them (AC-38, AC-42)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from caskeeper.errors import CaskeeperError

_UNITS = "BKMGT"
_MOST_DECIMALS = 6
_SIZE = re.compile(r"([0-9]{1,30})(?:\.([0-9]{0,30}))?([KMGT]?)\Z")


def size_from(text: str) -> int | None:
    """Bytes, rounded down, of ``N``, ``NK``, ``NM``, ``NG`` or ``NT`` (AC-38); None when it is no size."""
    match = _SIZE.match(text)
    if match is None:
        return None
    whole, part, unit = match.group(1), match.group(2) or "", match.group(3) or "B"
    one: int = 10 ** len(part)
    return (int(whole + part) << 10 * _UNITS.index(unit)) // one


def parse_size(text: str, where: str = "", *, error: type[CaskeeperError] = ConfigInvalid) -> int:
    """Bytes of a size as AC-38 writes them, without percentages. Raises ``error``."""
    size_bytes = size_from(text)
    if size_bytes is None:
        raise error(f"{text[:80]!r} is not a size", where, "give bytes, such as 500000, 800M, 1.5G or 2T")
    return size_bytes


def pretty_sizes(*sizes_bytes: int) -> tuple[str, ...]:
    """The sizes of one sentence: with as many decimals as tell different ones apart, in bytes if none do."""
    for decimals in range(_MOST_DECIMALS + 1):
        texts = tuple(pretty_size(size, decimals) for size in sizes_bytes)
        if len(set(texts)) == len(set(sizes_bytes)):
            return texts
    return tuple(f"{size}B" for size in sizes_bytes)


def pretty_size(size_bytes: int, decimals: int = 0) -> str:
    """``10G``: whole numbers, units B K M G T, no space (AC-42); or with so many decimals at most."""
    size = float(size_bytes)
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    text = f"{size:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if decimals else text}{_UNITS[unit]}"
