"""Tree messages: a directory and everything below it in one blob (AC-75)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import remote_execution_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tree(NamedTuple):
    """``messages`` are the Directory messages by digest, as they were sent; ``root`` is one of them."""

    root: Digest
    messages: Mapping[Digest, bytes]


def parse_tree(data: bytes, digest: Digest) -> Tree:
    """The Tree that ``data`` is; ``digest`` names it in an error and is not computed again.

    The Directory messages in it are not looked into. Raises InvalidRequest for what is no Tree.
    """
    try:
        message = pb.EncodedTree.FromString(data)
    except DecodeError:
        raise _invalid(digest) from None
    if data and not message.HasField("root"):
        raise _invalid(digest)
    root = message.root  # no bytes at all are a Tree of the empty directory
    messages = {Digest.of(child): child for child in (root, *message.children)}
    return Tree(Digest.of(root), {EMPTY: b"", **messages})


def _invalid(digest: Digest) -> InvalidRequest:
    return InvalidRequest("it is no Tree message", f"tree {digest}", "give the digest of a Tree blob")
