"""What the clients of a trial commit, push and pull: any number of small trees, each with content of its own.

The n-th tree of a seed is the same in every process, so nobody has to keep or send it. Every eighth is large.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, NamedTuple

from harness.trees import MemoryTree

if TYPE_CHECKING:
    from caskeeper.digest import Digest

SMALL_BYTES, LARGE_BYTES = 20_000, 2_000_000
LARGE_EACH = 8
_ELEMENTS = 40


class TrialTree(NamedTuple):
    """Its ref, its root, its blobs by hash, and its files by path."""

    ref: str
    root: Digest
    blobs: dict[str, bytes]
    files: dict[str, bytes]

    def write(self, folder):
        """As files below ``folder``; the path."""
        for path, content in self.files.items():
            os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
            with open(f"{folder}/{path}", "wb") as file:
                file.write(content)
        return str(folder)


def trial_tree(seed, kind, number, *, large_bytes=LARGE_BYTES):
    """The tree of this number; ``kind`` is who has it first: "committed" or "published"."""
    chance = random.Random(f"{seed} {kind} {number}")
    inner = {f"file-{n}": chance.randbytes(SMALL_BYTES) for n in range(3)}
    if number % LARGE_EACH == 0:
        inner["large"] = chance.randbytes(large_bytes)
    note = f"{kind} {number}\n".encode()
    memory = MemoryTree()
    root = memory.folder(bin=memory.folder(**inner), note=note)
    files = {f"bin/{name}": content for name, content in inner.items()} | {"note": note}
    return TrialTree(ref_of(kind, number), root, dict(memory.data), files)


def ref_of(kind, number):
    return f"trial/{kind}-{number % _ELEMENTS}/{number}"


def number_of(ref):
    """(kind, number) of a ref."""
    _project, element, key = ref.split("/")
    return element.rpartition("-")[0], int(key)
