"""Opening a file without making it young (safety.md section 2: its atime is its age, set by a touch alone).

Without this a cleanup that reads closure lists to plan would find them young afterwards: mounts with
``relatime`` set the atime of a file that was not read for a day, those with ``strictatime`` every time.
"""

from __future__ import annotations

import os

_NOATIME = getattr(os, "O_NOATIME", 0)


def open_unaged(path: str, flags: int = os.O_RDONLY) -> int:
    """As ``os.open`` for reading. A file of another owner is opened all the same, and may become young."""
    try:
        return os.open(path, flags | _NOATIME)
    except PermissionError:
        return os.open(path, flags)
