"""What the clients of a history commit, pull and upload: few trees that share content, made from a seed."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, NamedTuple

from harness.trees import MemoryTree

if TYPE_CHECKING:
    from caskeeper.digest import Digest

#: By how they come: committed, published at the remote, uploaded to the server.
COMMITTED, PUBLISHED, UPLOADED = 36, 8, 8
BLOCK_BYTES = 4096
#: Several, so that there is something to share with a companion.
FOLDERS = ("bin", "lib", "doc", "etc")


class Tree(NamedTuple):
    """One tree: its root, every blob of it by hash, and its files by path (``x:`` = executable)."""

    name: str
    root: Digest
    blobs: dict[str, bytes]
    files: dict[str, bytes]

    def write(self, folder):
        """As files below ``folder``; the path."""
        for name, content in self.files.items():
            path = f"{folder}/{name.removeprefix('x:')}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            if name.startswith("x:"):
                os.chmod(path, 0o755)
        return str(folder)

    def listing(self):
        """As ``harness.trees.listing`` shows a copy of it."""
        found = dict.fromkeys(FOLDERS)
        for name, content in self.files.items():
            found[name.removeprefix("x:")] = (content, name.startswith("x:"))
        return found


class Trees(NamedTuple):
    """All of them, and what they take on a disk together."""

    committed: tuple[Tree, ...]
    published: tuple[Tree, ...]
    uploaded: tuple[Tree, ...]

    @property
    def working_set_bytes(self):
        sizes = {}
        for tree in (*self.committed, *self.published, *self.uploaded):
            sizes.update({name: len(data) for name, data in tree.blobs.items()})
        return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes.values())


def make_trees(seed):
    """The same for the same seed."""
    chance = random.Random(f"trees {seed}")
    common = {f"common-{number}": chance.randbytes(30_000) for number in range(3)}

    def make(name):
        own = {
            f"{FOLDERS[number % len(FOLDERS)]}/{number}": chance.randbytes(chance.randrange(1, 45_000))
            for number in range(8)
        }
        return _tree(name, {**common, **own, "x:bin/run": chance.randbytes(5_000), "empty": b""})

    return Trees(
        tuple(make(f"committed-{number}") for number in range(COMMITTED)),
        tuple(make(f"published-{number}") for number in range(PUBLISHED)),
        tuple(make(f"uploaded-{number}") for number in range(UPLOADED)),
    )


def _tree(name, files):
    memory = MemoryTree()
    inner = {folder: {} for folder in FOLDERS}
    outer = {}
    for path, data in files.items():
        folder, _, entry = path.removeprefix("x:").rpartition("/")
        within = inner[folder] if folder else outer
        within[f"_x_{entry}" if path.startswith("x:") else entry] = data
    folders = {folder: memory.folder(**entries) for folder, entries in inner.items()}
    root = memory.folder(**folders, **outer)
    return Tree(name, root, dict(memory.data), files)
