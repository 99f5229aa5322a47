"""What artifacts take: as checked out, on the disk, and alone (``du``).

Costs a closure list a tree, and one read of every Directory message for the size as checked out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Message
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker.closure import WHOLE, part_of, walk
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from worker.closure import Scope
    from worker.directory import Directory
    from worker.store.closures import Closures
    from worker.store.objects import Objects
    from worker.store.refs import RefEntry, Refs

    Read = Callable[[Digest], Directory]

_DAMAGE = (BlobMissing, DigestMismatch, InvalidRequest)
_KEPT = 65_536
_FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefUsage(Message):
    """One ref. Sizes are None when a part of what it names is gone.

    ``logical_bytes`` as checked out, each file as often as it stands; ``physical_bytes`` on the disk, each
    blob once, rounded up to blocks, with the executable copies; ``unique_bytes`` what of that belongs to
    no other tree, and so goes with the last ref of this one.
    """

    ref: str
    root: str
    logical_bytes: int | None = None
    unique_bytes: int | None = None
    physical_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskUsage(Message):
    """The refs asked for, the largest first, and all of them together: each tree and each blob once."""

    refs: tuple[RefUsage, ...]
    logical_bytes: int
    unique_bytes: int
    physical_bytes: int


class _Tree(NamedTuple):
    """One root in one scope."""

    root: Digest
    scope: Scope


class DiskUsageReport:
    """``du``."""

    def __init__(self, refs: Refs, closures: Closures, objects: Objects) -> None:
        self._refs = refs
        self._closures = closures
        self._objects = objects

    def __call__(self, pattern: str = "*") -> DiskUsage:
        """Of the refs that match ``pattern`` (``*`` also matches ``/``); the others decide what is unique."""
        entries = list(self._refs.listing(strangers=[]))
        content = {tree: self._content(tree) for entry in entries for tree in _trees(entry)}
        charge = self._charges()
        needed = _owners(content)
        chosen = [entry for entry in entries if fnmatchcase(str(entry.ref), pattern)]
        trees = {tree for entry in chosen for tree in _trees(entry)}
        read: Read = lru_cache(_KEPT)(self._objects.directory)
        logical = {tree: _logical(tree, content[tree], read) for tree in trees}
        lines = [_line(entry, content, logical, needed, charge) for entry in chosen]
        lines.sort(key=lambda line: (-(line.physical_bytes or 0), line.ref))
        together = _merged(content[tree] for tree in trees)
        theirs = _owners({tree: content[tree] for tree in trees})
        alone = {raw: size for raw, size in together.items() if theirs[raw] == needed[raw]}
        return DiskUsage(
            refs=tuple(lines),
            logical_bytes=sum(size or 0 for size in logical.values()),
            unique_bytes=sum(charge(raw, size) for raw, size in alone.items()),
            physical_bytes=sum(charge(raw, size) for raw, size in together.items()),
        )

    def _content(self, tree: _Tree) -> dict[bytes, int] | None:
        try:
            entries = self._closures.obtain(tree.root, tree.scope, self._objects).entries
            return {raw: size_bytes for raw, size_bytes, _is_directory in entries}
        except _DAMAGE:
            return None

    def _charges(self) -> Callable[[bytes, int], int]:
        charge = self._objects.volume.charge
        twice = _executables(self._objects.volume.layout.executables)
        empty = bytes.fromhex(EMPTY.hash)

        def charged(raw: bytes, size_bytes: int) -> int:
            return 0 if raw == empty else charge(size_bytes) * (2 if raw in twice else 1)

        return charged


def _logical(tree: _Tree, content: dict[bytes, int] | None, read: Read) -> int | None:
    if content is None:
        return None
    try:
        return checked_out_bytes(tree.root, tree.scope, read)
    except _DAMAGE:
        return None


def checked_out_bytes(root: Digest, scope: Scope, read: Read) -> int:
    """The bytes of all regular files of a tree, each as often as it stands."""
    known: dict[str, int] = {}

    def whole(top: Digest) -> int:
        for digest in walk(top, WHOLE, read).directories if top.hash not in known else ():
            folder = read(digest)
            known[digest.hash] = sum(file.digest.size_bytes for file in folder.files) + sum(
                known[entry.digest.hash] for entry in folder.directories
            )
        return known[top.hash]

    total, stack = 0, [(root, part_of(scope))]
    while stack:
        digest, part = stack.pop()
        if part.whole:
            total += whole(digest)
            continue
        folder = read(digest)
        total += sum(file.digest.size_bytes for file in folder.files) if part.others else 0
        for name, child in folder.directories:
            below = part.below(name)
            if below is not None:
                stack.append((child, below))
    return total


def _trees(entry: RefEntry) -> list[_Tree]:
    record = entry.record
    return [] if record is None else [_Tree(root, record.scope) for root in record.roots]


def _owners(content: dict[_Tree, dict[bytes, int] | None]) -> Counter[bytes]:
    """How many roots need each digest: two scopes of one root are one tree."""
    roots: dict[str, set[bytes]] = {}
    for tree, digests in content.items():
        roots.setdefault(tree.root.hash, set()).update(digests or ())
    return Counter(raw for digests in roots.values() for raw in digests)


def _merged(contents: Iterable[dict[bytes, int] | None]) -> dict[bytes, int]:
    merged: dict[bytes, int] = {}
    for content in contents:
        merged.update(content or {})
    return merged


def _line(
    entry: RefEntry,
    content: dict[_Tree, dict[bytes, int] | None],
    logical: dict[_Tree, int | None],
    needed: Counter[bytes],
    charge: Callable[[bytes, int], int],
) -> RefUsage:
    trees = _trees(entry)
    root = str(trees[0].root) if trees else ""
    sizes = [logical[tree] for tree in trees]
    if not trees or None in sizes or any(content[tree] is None for tree in trees):
        return RefUsage(ref=str(entry.ref), root=root)
    digests = _merged(content[tree] for tree in trees)
    owners = _owners({tree: content[tree] for tree in trees})
    return RefUsage(
        ref=str(entry.ref),
        root=root,
        logical_bytes=sum(size or 0 for size in sizes),
        unique_bytes=sum(charge(raw, size) for raw, size in digests.items() if needed[raw] == owners[raw]),
        physical_bytes=sum(charge(raw, size) for raw, size in digests.items()),
    )


def _executables(folder: str) -> set[bytes]:
    """The hashes that have an executable copy."""
    found: set[bytes] = set()
    try:
        with os.scandir(folder) as listing:
            names = [entry.name for entry in listing if _FAN_OUT.match(entry.name)]
        for name in names:
            for rest in os.listdir(f"{folder}/{name}"):
                found.add(bytes.fromhex(name + rest))
    except OSError as error:
        raise failure(error, folder) from error
    except ValueError:
        raise InvalidRequest("something there is no executable of the store", folder, "move it out") from None
    return found
