"""What lies below a folder, before and after: nothing may be written where nothing belongs."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator


def snapshot(folder: str, *, without: tuple[str, ...] = ()) -> dict[str, object]:
    """All that lies below, with kind, mode, content or target; but nothing of ``without``."""
    return dict(_entries(folder, without))


def _entries(folder: str, without: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    for entry in os.scandir(folder):
        if entry.path in without:
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            yield entry.path, os.readlink(entry.path)
        elif stat.S_ISDIR(mode):
            yield entry.path, mode
            yield from _entries(entry.path, without)
        else:
            with open(entry.path, "rb") as file:
                yield entry.path, (mode, file.read())


_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{62}\Z")


def assert_only_objects(folder: str) -> None:
    """Below the folder of objects there are objects and nothing else."""
    for above, _folders, names in os.walk(folder):
        for name in names:
            assert _OBJECT.match(os.path.relpath(f"{above}/{name}", folder))


def layout_of(root: Digest, blobs: dict[str, bytes]) -> dict[str, object]:
    """What the tree is when it is laid out: path -> target, (content, executable), or None for a folder."""
    found: dict[str, object] = {}
    stack = [("", root)]
    while stack:
        path, digest = stack.pop()
        built = pb.Directory.FromString(blobs[digest.hash] if digest != EMPTY else b"")
        found |= {f"{path}{node.name}": node.target for node in built.symlinks}
        found |= {f"{path}{node.name}": (blobs[node.digest.hash], node.is_executable) for node in built.files}
        for node in built.directories:
            found[f"{path}{node.name}"] = None
            stack.append((f"{path}{node.name}/", Digest(node.digest.hash, node.digest.size_bytes)))
    return found
