"""What a ref needs, as far as that can be told when parts of it are damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, CaskeeperError, DigestMismatch, InvalidRequest
from worker.closure import walk
from worker.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from worker.closure import Scope
    from worker.services.maintenance import Maintenance
    from worker.store.objects import Objects


def content_of(ref: Ref, store: Maintenance) -> Iterator[Digest]:
    """Every known digest of it, files first, then Directories, children first; nothing where it is gone.

    By its closure lists; where there is none, by walking past what cannot be read.
    """
    try:
        record = store.refs.read(ref)
    except CaskeeperError:
        return  # the error of whoever reads the ref itself says what to do
    for root in () if record is None else record.roots:
        listing = store.closures.read(root.hash, record.scope.id) if record else None
        if listing is not None:
            entries = sorted(listing.entries, key=lambda entry: entry.is_directory)
            digests = [Digest(entry.hash_bytes.hex(), entry.size_bytes) for entry in entries]
            yield from (digest for digest in digests if digest != root)
            yield root
        elif record is not None:
            yield from _walked(root, record.scope, store.objects)


def _walked(root: Digest, scope: Scope, objects: Objects) -> tuple[Digest, ...]:
    met: list[Digest] = []

    def read(digest: Digest) -> Directory:
        met.append(digest)
        try:
            return objects.directory(digest)
        except (BlobMissing, DigestMismatch, InvalidRequest):
            return Directory()

    try:
        return walk(root, scope, read).digests
    except InvalidRequest:
        return tuple(reversed(met))  # a path that belongs to it cannot be found without what is gone
