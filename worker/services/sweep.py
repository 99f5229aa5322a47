"""Garbage without a name: objects that no closure list holds, left by operations that crashed.

Lists a whole tree of the store, so it runs only when evicting by closure lists did not make enough room.
The two looks at the age protect whatever an operation still in flight has touched.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from worker.services.eviction import Evictor

_FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")
_REST = re.compile(r"[0-9a-f]{62}\Z")


def sweep(evictor: Evictor, folder: str, *, needed: Container[bytes], check: Callable[[], None]) -> int:
    """Take every object below ``folder`` that is not in ``needed`` and is old. Returns freed bytes."""
    freed = 0
    for fan in sorted(os.listdir(folder)):
        check()
        path = f"{folder}/{fan}"
        if not _FAN_OUT.match(fan) or os.path.islink(path) or not os.path.isdir(path):
            continue  # nothing of ours, and what it leads to even less
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        for name in names:
            if _REST.match(name) and bytes.fromhex(fan + name) not in needed:
                freed += evictor.take_object(fan + name)[0]
    return freed
