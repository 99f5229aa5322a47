"""The identity of content: SHA-256 in lower-case hex, and the size in bytes (local-cas section 1)."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from caskeeper.errors import InvalidRequest

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_LOOKS = "a digest is a SHA-256 hash (64 characters of 0-9a-f), a slash, and the size in bytes"
#: The largest size a digest may claim: an int64 on the wire.
MAX_SIZE_BYTES = 2**63 - 1

Hasher = hashlib.sha256
#: What a NamedTuple's own constructor calls, at half of its cost.
_new = tuple.__new__


class Digest(NamedTuple):
    """``hash`` is 64 lower-case hex characters, ``size_bytes`` is not negative.

    Equality of blobs *in the store* is by hash; a digest with another size is another claim.
    The constructor trusts its caller; what comes from outside goes through ``checked`` or ``parse``.
    """

    hash: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.hash}/{self.size_bytes}"

    @classmethod
    def checked(cls, hash_hex: str, size_bytes: int, *, where: str = "digest") -> Digest:
        """A digest from outside. Raises InvalidRequest when it cannot be one."""
        if not _HASH.match(hash_hex):
            raise InvalidRequest(
                f"{hash_hex[:80]!r} is not a SHA-256 hash", where, "give 64 characters of 0-9a-f"
            )
        if not 0 <= size_bytes <= MAX_SIZE_BYTES:
            raise InvalidRequest(f"{size_bytes} is not a size in bytes", where)
        return cls(hash_hex, size_bytes)

    @classmethod
    def parse(cls, text: str, *, where: str = "digest") -> Digest:
        """``HASH/SIZE`` as ``str`` writes it. Raises InvalidRequest."""
        hash_hex, slash, size = text.partition("/")
        if not slash or not (size.isascii() and size.isdigit()) or len(size) > 19:
            raise InvalidRequest(f"{text[:100]!r} is not HASH/SIZE", where, _LOOKS)
        return cls.checked(hash_hex, int(size), where=where)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of these bytes."""
        return _new(cls, (Hasher(data).hexdigest(), len(data)))


#: The empty file, which is also the empty directory: always treated as present.
EMPTY = Digest.of(b"")
