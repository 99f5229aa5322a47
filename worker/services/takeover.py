"""The refs of an adopted BuildStream 1.x cache: what each of them really has here (D-2, D-20).

There a ref says nothing about what was left out when it was pulled, and nothing about damage. Here a
record says it (its scope), a closure list stands beside it, and what cannot be told is set aside. Runs once,
under the creation lock, before the volume has a FORMAT.
"""

from __future__ import annotations

import os
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from caskeeper.digest import EMPTY
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker.closure import WHOLE, Scope, walk
from worker.store.closures import Closures
from worker.store.objects import Objects
from worker.store.refs import RefRecord, Refs
from worker.store.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.closure import Closure
    from worker.directory import Directory
    from worker.store.volume import Volume

_DAMAGE = (BlobMissing, DigestMismatch, InvalidRequest)
#: How many Directory messages are kept: artifacts of one project share most of theirs.
_KEPT = 65_536
#: How often, and after which pause each, the volume's clock is looked at until it has moved on: ticks are
#: 1 to 10 ms long.
_LOOKS = 50
_LOOK_S = 0.001


def take_over_refs(volume: Volume, *, check: Callable[[], None] = lambda: None) -> list[str]:
    """Give every ref its scope and closure list, oldest first, so that their order of age stays.

    Answers where those lie now whose content cannot be told. VolumeFailed for what is no ref.
    """
    layout, refs = volume.layout, Refs(volume)
    staging = Staging(
        volume,
        f"takeover-{secrets.token_hex(8)}",
        spend=lambda _size_bytes: None,  # nothing is counted before the first measure
        refund=lambda _size_bytes: None,
        check=check,
    )
    staging.begin()
    aside = []
    age_ns = 0
    try:
        look, closures = Look(Objects(volume)), Closures(volume)
        for entry in sorted(refs.listing(), key=lambda entry: _modified_ns(layout.ref(entry.ref))):
            check()
            closure = None if entry.record is None else look.at(entry.record.root)
            if closure is None:
                target = f"{layout.root}/damaged/refs/{entry.ref}"
                volume.publish(layout.ref(entry.ref), target)
                refs.prune_parents(entry.ref)
                aside.append(target)
                continue
            closures.write(staging, closure)
            if not closure.scope.whole:
                record = RefRecord.fresh((closure.root,), origin="adopted", scope=closure.scope)
                refs.publish(staging, refs.stage(staging, entry.ref, record), entry.ref)
            age_ns = _make_young(refs, entry.ref, after_ns=age_ns)
    finally:
        staging.end()
    return aside


def _modified_ns(path: str) -> int:
    """The last use by BuildStream 1.x' reckoning (AC-49)."""
    try:
        return os.lstat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _make_young(refs: Refs, ref: Ref, *, after_ns: int) -> int:
    """Its new age, later than ``after_ns``: the volume's clock moves in ticks, and equal ages have no order.

    A clock whose tick takes longer than anybody's does not hold an adoption up: order among them is lost.
    """
    path = refs.volume.layout.ref(ref)
    for _ in range(_LOOKS):
        refs.touch(ref)
        age_ns = os.stat(path).st_atime_ns
        if age_ns > after_ns:
            break
        time.sleep(_LOOK_S)
    return age_ns


class Source(Protocol):
    """Where a look reads: this volume, or a folder that an import takes over."""

    def stat(self, hash_hex: str) -> os.stat_result | None:
        """The object's file, or None."""

    def directory(self, digest: Digest) -> Directory:
        """The Directory message of this digest, verified. BlobMissing, DigestMismatch, InvalidRequest."""


class Look:
    """What is there below a root, each object looked at once and judged by its size."""

    def __init__(self, objects: Source) -> None:
        self._objects = objects
        self._present: set[Digest] = {EMPTY}
        self._directory: Callable[[Digest], Directory] = lru_cache(_KEPT)(objects.directory)

    def at(self, root: Digest) -> Closure | None:
        """The closure of what is there, less top-level folders that are not whole. None = not even that."""
        try:
            folders = self._directory(root).directories
            gone = [folder.name for folder in folders if not self._is_whole(folder.digest)]
            closure = walk(root, Scope.of(gone), self._directory)
        except _DAMAGE:
            return None
        return closure if all(map(self._is_here, closure.digests)) else None

    def _is_whole(self, folder: Digest) -> bool:
        try:
            return all(map(self._is_here, walk(folder, WHOLE, self._directory).digests))
        except _DAMAGE:
            return False

    def _is_here(self, digest: Digest) -> bool:
        if digest not in self._present:
            there = self._objects.stat(digest.hash)
            if there is None or there.st_size != digest.size_bytes:
                return False
            self._present.add(digest)
        return True
