"""Digests as they stand in messages of the Remote Execution API."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from worker._protos import remote_execution_pb2 as reapi

if TYPE_CHECKING:
    from collections.abc import Iterable

_HASH_CHARACTERS = 64
# The constructor of a named tuple is a function in Python, and messages have thousands of digests.
_new = tuple.__new__


def to_wire(digest: Digest) -> reapi.Digest:
    """REAPI ``Digest``."""
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def all_to_wire(digests: Iterable[Digest]) -> list[reapi.Digest]:
    """The same for each of them."""
    return [to_wire(digest) for digest in digests]


def all_from_wire(messages: Iterable[reapi.Digest]) -> list[Digest]:
    """What they say, unchecked: for whoever compares them with digests of its own."""
    return [_new(Digest, (message.hash, message.size_bytes)) for message in messages]


def all_checked(messages: Iterable[reapi.Digest]) -> list[Digest]:
    """Digests from outside. Raises InvalidRequest when one of them cannot be one."""
    return checked(all_from_wire(messages))


def checked(digests: list[Digest]) -> list[Digest]:
    """``digests``, which come from outside. Raises InvalidRequest when one of them cannot be one."""
    if not _are_all_right(digests):
        for hash_hex, size_bytes in digests:
            Digest.checked(hash_hex, size_bytes)
    return digests


def _are_all_right(digests: list[Digest]) -> bool:
    """Looked at all together; False: one may be wrong."""
    hashes = [digest[0] for digest in digests]
    joined = "".join(hashes)
    if {*map(len, hashes)} <= {_HASH_CHARACTERS} and min([digest[1] for digest in digests], default=0) >= 0:
        with suppress(ValueError):
            # As many bytes as lower-case hex makes: so no white space in it, and no upper case.
            return 2 * len(bytes.fromhex(joined)) == len(joined) and joined.lower() == joined
    return False
