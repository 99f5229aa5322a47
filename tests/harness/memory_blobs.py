"""A BlobAccess and a RefIndex in memory: content by digest, with faults to order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, CaskeeperError, DigestMismatch
from worker.protocols import ARTIFACT, CHUNK_BYTES, DIRECTORY, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from caskeeper.artifact import Ref


class MemoryBlobs:
    """``calls`` lists (verb, digests) in order; ``fail[verb]`` is raised by that verb while it stands."""

    def __init__(self, *contents: bytes, batch_limit_bytes: int = 4 * 1024 * 1024) -> None:
        self.data: dict[str, bytes] = {Digest.of(content).hash: content for content in contents}
        self.limit = batch_limit_bytes
        self.calls: list[tuple[str, tuple[Digest, ...]]] = []
        self.arrived: list[Digest] = []
        self.fail: dict[str, CaskeeperError] = {}
        self.guard = threading.Lock()

    def unhashed(self) -> MemoryBlobs:
        return self

    def add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.data[digest.hash] = content
        return digest

    def _call(self, verb: str, digests: Iterable[Digest]) -> None:
        with self.guard:
            self.calls.append((verb, tuple(digests)))
        if verb in self.fail:
            raise self.fail[verb]

    @property
    def batch_limit_bytes(self) -> int:
        return self.limit

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        self._call("find_missing", digests)
        return {digest for digest in digests if digest.hash not in self.data}

    def _get(self, digest: Digest) -> bytes:
        if digest == EMPTY:
            return b""
        try:
            content = self.data[digest.hash]
        except KeyError:
            raise BlobMissing("not in memory", str(digest)) from None
        if Digest.of(content) != digest:
            raise DigestMismatch("damaged in memory", str(digest))
        return content

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, bytes]]:
        self._call("read_batch", digests)
        assert sum(digest.size_bytes for digest in digests) <= self.limit
        return [(digest, self._get(digest)) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[bytes]:
        self._call("read_stream", [digest])
        content = self._get(digest)
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    def _put(self, digest: Digest, content: bytes) -> None:
        if Digest.of(content) != digest:
            raise DigestMismatch("refused by memory", str(digest))
        with self.guard:
            self.data[digest.hash] = content
            self.arrived.append(digest)

    def write_batch(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        self._call("write_batch", [digest for digest, _content in blobs])
        assert sum(len(content) for _digest, content in blobs) <= self.limit
        for digest, content in blobs:
            self._put(digest, content)

    def write_stream(self, digest: Digest, chunks: Iterable[bytes]) -> None:
        self._call("write_stream", [digest])
        self._put(digest, b"".join(chunks))


class MemoryIndex:
    """Refs in a dictionary; ``failure`` is raised by every call as long as it stands."""

    def __init__(self) -> None:
        self.refs: dict[Ref, Published] = {}
        self.failure: CaskeeperError | None = None
        self.kinds = frozenset({DIRECTORY, ARTIFACT})

    def resolve(self, ref: Ref) -> Published | None:
        if self.failure is not None:
            raise self.failure
        return self.refs.get(ref)

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        for ref in refs:
            self.refs[ref] = published


class MemoryRemote:
    """What ``worker.remote`` opens, without a network."""

    def __init__(self, url: str, *, writable: bool = True) -> None:
        self.url = url
        self.blobs = self.uploads = MemoryBlobs()
        self.index = MemoryIndex()
        self.writable = writable
