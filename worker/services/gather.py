"""The Directory messages of a tree, level by level into memory, checked, before anything is stored.

They are stored last, children first (I2): a Directory that appeared before its children would tell the
next operation that it can be relied upon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker.closure import MAX_DEPTH, part_of
from worker.directory import MAX_TREE_BYTES, Directory, check_size, parse
from worker.services import transfer
from worker.services.meter import Meter
from worker.store.damage import ObjectDamaged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from worker.closure import Part, Scope
    from worker.protocols import BlobAccess, Context, Piece
    from worker.services.watched import Watched


class Gathered:
    """Directory messages in memory: the sink of ``gather``, and the source of storing them afterwards."""

    batch_limit_bytes = transfer.BATCH_BYTES

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {EMPTY: b""}
        self._parsed: dict[Digest, Directory] = {}

    def read(self, digest: Digest) -> Directory:
        """The message of ``digest``, which was gathered. Raises InvalidRequest when it is malformed."""
        if digest not in self._parsed:
            self._parsed[digest] = parse(self.data[digest], digest)
        return self._parsed[digest]

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those not gathered yet."""
        return {digest for digest in digests if digest not in self.data}

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, Piece]]:
        """What was gathered."""
        return [(digest, self.data[digest]) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[bytes]:
        """What was gathered, in one piece."""
        yield self.data[digest]

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        """Keep, and nothing of the message they came in; the other side has verified them."""
        self.data.update([(digest, bytes(data)) for digest, data in blobs])

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        """Keep; the other side has verified it."""
        self.data[digest] = b"".join(chunks)


def gather(
    root: Digest,
    scope: Scope,
    *,
    store: BlobAccess,
    remote: Watched,
    context: Context,
    held: Gathered | None = None,
) -> Gathered:
    """All messages of ``root`` in ``scope``: from the store where it has them, else from ``remote``.

    What is here is made young (I4). They are added to ``held``, and what that has is not asked for. Raises
    BlobMissing when neither has one, InvalidRequest for one that is malformed or a tree that is too deep or
    too large; these count as failures of ``remote``.
    """
    held = Gathered() if held is None else held
    meter = Meter(context, "directories")
    level: dict[Digest, list[Part]] = {root: [part_of(scope)]}
    seen_whole: set[Digest] = set()
    for _depth in range(MAX_DEPTH):
        if not level:
            return held
        new = [digest for digest in level if digest not in held.data]
        with remote.watching():
            _check_sizes(held, new)
        _fetch(new, held, store=store, remote=remote, context=context, meter=meter)
        with remote.watching():
            level = _next_level(level, held, seen_whole)
    with remote.watching():
        raise InvalidRequest(f"it is deeper than {MAX_DEPTH} folders", f"tree {root}")


def _check_sizes(held: Gathered, new: Sequence[Digest]) -> None:
    for digest in new:
        check_size(digest)
    total = sum(digest.size_bytes for digest in held.data) + sum(digest.size_bytes for digest in new)
    if total > MAX_TREE_BYTES:
        raise InvalidRequest(f"its Directory messages have more than {MAX_TREE_BYTES} bytes", "tree")


def _fetch(
    new: list[Digest],
    held: Gathered,
    *,
    store: BlobAccess,
    remote: BlobAccess,
    context: Context,
    meter: Meter,
) -> None:
    lacking = transfer.find_missing(store, new, context)
    absent = set(lacking)
    here = [digest for digest in new if digest not in absent]
    try:
        transfer.copy(store, held, here, context=context, meter=meter)
    except (BlobMissing, DigestMismatch) as gap:
        if isinstance(gap, ObjectDamaged):
            raise  # it is taken away before the next try, else it would stay here as it is
        # The remote's is as good. Storing it again is the store's business.
        lacking = [digest for digest in new if digest not in held.data]
    transfer.copy(remote, held, lacking, context=context, meter=meter)


def _next_level(
    level: dict[Digest, list[Part]], held: Gathered, seen_whole: set[Digest]
) -> dict[Digest, list[Part]]:
    """The sub-folders of ``level`` that belong to the scope and whose whole was not on its way before."""
    below: dict[Digest, list[Part]] = {}
    for digest, parts in level.items():
        directory = held.read(digest)
        for part in parts:
            if part.whole:
                if digest in seen_whole:
                    continue
                seen_whole.add(digest)
            for name, child in directory.directories:
                inner = part.below(name)
                if inner is not None and not (inner.whole and child in seen_whole):
                    below.setdefault(child, []).append(inner)
    return below
