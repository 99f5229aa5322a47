"""Resource names of ByteStream (wire-protocols section 4; REAPI v2, ByteStream).

    read    [instance/]blobs/[digest_function/]hash/size
    read    [instance/]compressed-blobs/zstd/[digest_function/]hash/size
    write   [instance/]uploads/uuid/blobs/[digest_function/]hash/size[/metadata...]
    write   [instance/]uploads/uuid/compressed-blobs/zstd/[digest_function/]hash/size[/metadata...]

An instance name may have several segments, none of them a keyword, so the first keyword ends it. No part
of a name ever becomes a path: the store is asked for the digest alone.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, InvalidRequest

_KEYWORDS = frozenset(
    {"blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"}
)
_FUNCTION = "sha256"
_OTHER_FUNCTIONS = frozenset({"sha1", "md5", "vso", "sha384", "sha512", "murmur3", "sha256tree", "blake3"})


class Resource(NamedTuple):
    """What a name names: a blob, and whether it travels as zstd. The digest is of the plain bytes always."""

    digest: Digest
    zstd: bool = False


def _no_such(name: str, why: str) -> BlobMissing:
    return BlobMissing(
        f"no such resource: {why}",
        f"resource name {name[:200]!r}",
        "name it [instance/]blobs/hash/size, for an upload [instance/]uploads/uuid/blobs/hash/size",
    )


def _after_instance(name: str) -> tuple[str, list[str]]:
    """The first keyword ("" without one) and the segments from there on."""
    segments = name.split("/")
    for place, segment in enumerate(segments):
        if segment in _KEYWORDS:
            if "" in segments[:place]:
                raise _no_such(name, "an empty segment in the instance name")
            return segment, segments[place + 1 :]
    return "", segments


def _digest(name: str, segments: list[str], *, more: bool) -> Digest:
    """``[digest_function/]hash/size``; with ``more``, further segments may follow."""
    if segments and segments[0] in _OTHER_FUNCTIONS:
        raise InvalidRequest(
            f"digest function {segments[0]!r} is not served",
            f"resource name {name[:200]!r}",
            f"use {_FUNCTION}",
        )
    if segments and segments[0] == _FUNCTION:
        segments = segments[1:]
    if len(segments) < 2 or (len(segments) > 2 and not more):
        raise _no_such(name, "the digest is not hash/size")
    try:
        return Digest.parse("/".join(segments[:2]))
    except InvalidRequest as fault:
        raise _no_such(name, fault.what) from None


def _compressed(name: str, segments: list[str], *, more: bool) -> Resource:
    """What stands behind ``compressed-blobs``."""
    if segments[:1] != ["zstd"]:
        raise InvalidRequest(
            f"compressor {segments[0][:50]!r} is not served" if segments else "no compressor is named",
            f"resource name {name[:200]!r}",
            "use zstd, or the identity form: blobs/hash/size",
        )
    return Resource(_digest(name, segments[1:], more=more), zstd=True)


def parse_read(name: str) -> Resource:
    """What a read asks for; the bare ``hash/size`` of old clients is understood.

    Raises BlobMissing for what is no such name, InvalidRequest for a form that is not served.
    """
    keyword, rest = _after_instance(name)
    if keyword == "compressed-blobs":
        return _compressed(name, rest, more=False)
    if keyword == "" and len(rest) != 2:
        raise _no_such(name, "there is no `blobs` in it")
    if keyword not in {"", "blobs"}:
        raise _no_such(name, f"`{keyword}` cannot be read")
    return Resource(_digest(name, rest, more=False))


def parse_write(name: str) -> Resource:
    """What an upload announces.

    Raises BlobMissing for what is no such name, InvalidRequest for a form that is not served.
    """
    keyword, rest = _after_instance(name)
    if keyword != "uploads" or len(rest) < 2:
        raise _no_such(name, "there is no `uploads/uuid/blobs` in it")
    if rest[1] not in {"blobs", "compressed-blobs"}:
        raise _no_such(name, "there is no `blobs` after the uuid")
    try:
        version = uuid.UUID(rest[0]).version if len(rest[0]) == 36 else None
    except ValueError:
        version = None
    if version != 4:
        raise _no_such(name, "the upload's uuid is not one of version 4")
    if rest[1] == "compressed-blobs":
        return _compressed(name, rest[2:], more=True)
    return Resource(_digest(name, rest[2:], more=True))
