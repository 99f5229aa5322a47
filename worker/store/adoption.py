"""A cache folder of BuildStream 1.x becomes a volume, in place and once (safety.md section 2).

Its objects keep their place and its refs stay as they are (a Digest reads as a ref record). Objects
become read-only inodes of their own with the constant modification time, each hashed before (I1): BuildStream 1.x
stores downloads unverified (D-21) and shares inodes with extracts and checkouts (D-10). What does not
match its name is moved to ``damaged/``, never deleted (I9). Extracts, staging and the size file go.
Promises: cut short at any step, it can be run again. Does not promise that BuildStream may run meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from worker.store.failures import failure
from worker.store.format import find_format, staged_formats
from worker.store.objects import hash_of
from worker.store.system_calls import MTIME_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.layout import Layout
    from worker.store.format import CreationLock
    from worker.store.volume import Volume

_FAN_OUT_NAME = re.compile(r"[0-9a-f]{2}\Z")
_OBJECT_NAME = re.compile(r"[0-9a-f]{62}\Z")
_THREADS = 4
_CHUNK_BYTES = 1024 * 1024
