"""Tree messages: a directory and everything below it in one blob (AC-75)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import remote_execution_pb2 as pb
from worker.wire_fields import has_more_fields

if TYPE_CHECKING:
    from collections.abc import Mapping


#: So many Directory messages may be in one Tree.
MAX_MESSAGES = 1_000_000
_NONE = "it is no Tree message"


class Tree(NamedTuple):
    """``messages`` are the Directory messages by digest, as they were sent; ``root`` is one of them."""

    root: Digest
    messages: Mapping[Digest, bytes]


def parse_tree(data: bytes, digest: Digest) -> Tree:
    """The Tree that ``data`` is; ``digest`` names it in an error and is not computed again.

    The Directory messages in it are not looked into. Raises InvalidRequest for what is no Tree.
    """
    if has_more_fields(data, MAX_MESSAGES):
        raise _invalid(digest, f"it is no Tree message, or one of more than {MAX_MESSAGES} directories")
    try:
        message = pb.EncodedTree.FromString(data)
    except DecodeError:
        raise _invalid(digest, _NONE) from None
    if data and not message.HasField("root"):
        raise _invalid(digest, _NONE)
    root = message.root  # no bytes at all are a Tree of the empty directory
    messages = {Digest.of(child): child for child in (root, *message.children)}
    return Tree(Digest.of(root), {EMPTY: b"", **messages})


def _invalid(digest: Digest, what: str) -> InvalidRequest:
    return InvalidRequest(what, f"tree {digest}", "give the digest of a Tree blob")
