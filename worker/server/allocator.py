"""Keep streaming buffers with the process (speed.md section 3).

glibc maps every buffer above a threshold anew and gives it back at once, so that a streaming server spends
more time on page faults than on copying. Three settings change that and bound what is kept.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: Above what any message needs, below what would hide a leak.
_MMAP_BYTES = 32 * 1024 * 1024
_TRIM_BYTES = 32 * 1024 * 1024
#: Each arena keeps its own free memory: few arenas bound the sum.
_ARENAS = 2


def keep_buffers() -> None:
    """Set it for this process; nothing happens where the C library has no such call."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)
