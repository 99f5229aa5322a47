"""Numbers as people read them, and text that nobody can steer a terminal with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = ("B", "K", "M", "G", "T")


def size(size_bytes: float) -> str:
    """``17B``, ``4.5M``, ``120G``: units of 1024, three digits or so. AC-42's form is for settings."""
    number, unit = float(size_bytes), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    digits = 0 if unit == 0 or number >= 100 else 1
    return f"{number:.{digits}f}{_UNITS[unit]}"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``5,012 files``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """A name from an artifact as one harmless line: control characters are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def lines(texts: Iterable[str]) -> str:
    """Each as one harmless line, whatever a record, a name or a remote's words contain."""
    return "\n".join(map(printable, texts))


def duration(seconds: float) -> str:
    """``0.31 s``, ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"


def moment(when_ms: int) -> str:
    """Local time to the minute; ``-`` when it is unknown."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when_ms / 1000)) if when_ms else "-"


def instant(when_ms: int) -> str:
    """Local time to the second; ``-`` when it is unknown."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when_ms / 1000)) if when_ms else "-"
