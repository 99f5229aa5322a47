"""The two nouns everything else is built from: BlobAccess and RefIndex.

A pull is a copy from a remote's BlobAccess to the store's, a push the other way round. A feature that
would need an ``if`` in two verbs is a wrapper of one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.contract import Progress
    from caskeeper.digest import Digest

#: Blobs are streamed in pieces of this size (speed.md section 3: 1 to 2 MiB is best).
CHUNK_BYTES = 1024 * 1024
#: A part of a blob on its way: its length, its hash and its bytes are all that anybody asks for.
Piece: TypeAlias = bytes | memoryview
#: What both our sides take as one frame of HTTP/2: a piece, and what its message adds to it.
FRAME_BYTES = 4 * CHUNK_BYTES

#: What a ref names, the numbers of ``Kind`` in ref_record.proto: a directory tree as it is, a
#: ``buildstream.v2.Artifact``, an ActionResult, a blob of a URI. On the volume the root of each is a
#: Directory message, that of the others a view (worker/views.py).
DIRECTORY, ARTIFACT, ACTION_RESULT, BLOB = range(4)


class BlobAccess(Protocol):
    """Content by digest. Implementations are safe to use from several threads.

    Whatever goes in is hashed on the way and refused on a mismatch (DigestMismatch); whatever comes out
    is what its digest says. A blob that is not there raises BlobMissing naming it; every other trouble is
    an error of its own and never a miss (I10).
    """

    @property
    def batch_limit_bytes(self) -> int:
        """Blobs larger than this are streamed one by one; 0 = everything is streamed."""

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not there. What is there is made young first (I4)."""

    def read_batch(self, digests: Sequence[Digest]) -> Sequence[tuple[Digest, Piece]]:
        """Small blobs, whole and verified. The caller keeps their sum within ``batch_limit_bytes``."""

    def read_stream(self, digest: Digest) -> Iterator[Piece]:
        """One blob in pieces; the last piece comes only after the whole matched its digest."""

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        """Small blobs, each published whole or not at all."""

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        """One blob in pieces, published whole when the last one has come and all match."""


class PeerBlobs(BlobAccess, Protocol):
    """Content that somebody else holds."""

    def unhashed(self) -> PeerBlobs:
        """The same content for a copy from or to the store, which hashes every blob: once is enough.

        It may look at sizes only, both ways.
        """


class Published(NamedTuple):
    """What a ref names at an index: its kind, and its roots, the first one leading.

    The root of a directory tree is its Directory message; of every other kind it is the named message
    itself, not the view of it. ``blobs`` and ``directories`` belong to it besides what its root leads to:
    an index that keeps content alive is told of them; ``resolve`` leaves them empty.
    """

    roots: tuple[Digest, ...]
    kind: int = DIRECTORY
    blobs: tuple[Digest, ...] = ()
    directories: tuple[Digest, ...] = ()

    @property
    def root(self) -> Digest:
        """The leading root."""
        return self.roots[0]


class RefIndex(Protocol):
    """Names to roots."""

    @property
    def kinds(self) -> frozenset[int]:
        """The kinds that can be bound there."""

    def resolve(self, ref: Ref) -> Published | None:
        """What the ref names there; None = it answered that it has no such ref."""

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        """Bind every ref; the content is complete there already (AC-64).

        ``tree`` makes the serialised ``Tree`` of a directory tree, for an index that names trees by it.
        """


class Context(NamedTuple):
    """What a verb needs from whoever runs it."""

    #: called with how far the work is; cheap, may be called often
    progress: Callable[[Progress], None]
    #: called between pieces of work; raises Cancelled or LeaseLost to stop
    check: Callable[[], None]
    #: for how long the job has been tried before this run: its budget covers all of them
    spent_s: float = 0.0


def quiet() -> Context:
    """A context that shows nothing and never stops."""
    return Context(progress=lambda _progress: None, check=lambda: None)
