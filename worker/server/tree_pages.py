"""GetTree: a tree's Directory messages in pages, each once, as the bytes that are stored.

A page is an answer of the stream and ends with a token, from which a client whose stream broke goes on. What
is missing of the tree is left out, and so is what only it leads to; only a missing root is an error.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker._protos import remote_execution_pb2 as reapi
from worker.directory import parse
from worker.protocols import CHUNK_BYTES
from worker.server.answers import invalid
from worker.store.damage import ObjectDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.digest import Digest
    from worker.store.objects import Objects

#: Directories in one answer when the client does not say, and at most.
PAGE = 1000
#: A client takes no message above 4 MiB unless told otherwise; a margin for the frame.
MESSAGE_BYTES = 4 * 1024 * 1024 - 64 * 1024
#: Parsed, a large message is ten times its bytes. One at a time is no slower: the interpreter has one lock.
_parsing = threading.Lock()


def pages(
    objects: Objects, root: Digest, *, page_size: int, token: str, check: Callable[[], None]
) -> Iterator[reapi.EncodedGetTreeResponse]:
    """All pages after ``token`` ("" = from the root on). ``check`` is called before each look.

    Raises BlobMissing for the root, InvalidRequest for a token of another tree and for what is no Directory.
    """
    if page_size < 0:
        raise invalid(f"page_size {page_size} is negative", where=str(root))
    wanted = min(page_size, PAGE) or PAGE
    page, size_bytes, last = reapi.EncodedGetTreeResponse(), 0, ""
    awaited = token
    for digest, data in _walk(objects, root, check):
        if awaited:
            awaited = "" if str(digest) == awaited else awaited
            continue
        if page.directories and (len(page.directories) == wanted or size_bytes + len(data) > CHUNK_BYTES):
            page.next_page_token = last
            yield page
            page, size_bytes = reapi.EncodedGetTreeResponse(), 0
        page.directories.append(data)
        size_bytes += len(data)
        last = str(digest)
    if awaited:
        raise invalid(f"page_token {token[:100]!r} is not one of this tree", where=str(root))
    yield page


def _walk(objects: Objects, root: Digest, check: Callable[[], None]) -> Iterator[tuple[Digest, bytes]]:
    """Breadth first, each message once."""
    seen = {root}
    waiting = deque([root])
    while waiting:
        check()
        digest = waiting.popleft()
        try:
            data, children = _read(objects, digest)
        except BlobMissing:
            if digest == root:
                raise
            continue
        yield digest, data
        for child in children:
            if child not in seen:
                seen.add(child)
                waiting.append(child)


def _read(objects: Objects, digest: Digest) -> tuple[bytes, list[Digest]]:
    """A message, and what it leads to. InvalidRequest for one that no client takes in an answer."""
    try:
        if digest.size_bytes > MESSAGE_BYTES:
            os.close(objects.open(digest))  # whether it is here comes first
            raise InvalidRequest(
                f"a Directory message of more than {MESSAGE_BYTES} bytes fits in no answer",
                f"Directory {digest}",
                "read it as a blob",
            )
        data = objects.read(digest)
    except ObjectDamaged:
        raise
    except DigestMismatch as other:
        # An object of this hash and another size is not what was asked for (presence is by both).
        raise BlobMissing(other.what, other.where) from None
    with _parsing:
        return data, [entry.digest for entry in parse(data, digest).directories]
