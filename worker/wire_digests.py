"""A digest as it stands in messages of the Remote Execution API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker._protos import remote_execution_pb2 as reapi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caskeeper.digest import Digest


def to_wire(digest: Digest) -> reapi.Digest:
    """REAPI ``Digest``."""
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def all_to_wire(digests: Iterable[Digest]) -> list[reapi.Digest]:
    """The same for each of them."""
    return [to_wire(digest) for digest in digests]
