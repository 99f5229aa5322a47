"""The content of a remote as a BlobAccess: what it sends is believed when it matches its digest."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY
from caskeeper.errors import RemoteUnavailable
from worker._protos import remote_execution_pb2 as reapi
from worker.remote.batches import grouped, read_group, room, update_group, verified
from worker.remote.downloads import download
from worker.remote.failure import CallFailed
from worker.remote.methods import FIND_MISSING
from worker.remote.uploads import upload
from worker.wire_digests import all_from_wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from caskeeper.digest import Digest
    from worker.protocols import Piece
    from worker.remote.session import Session

#: How many digests one FindMissingBlobs carries: 330 KiB on the wire.
FIND_GROUP = 4096


class RemoteBlobs:
    """A BlobAccess over ContentAddressableStorage and ByteStream.

    Every method raises RemoteUnavailable, DeadlineExceeded, PermissionDenied, ConfigInvalid or
    InvalidRequest besides what BlobAccess says, and NoSpace when a remote is full.
    """

    def __init__(self, session: Session, *, hashes: bool = True) -> None:
        self._session = session
        self._hashes = hashes

    def unhashed(self) -> RemoteBlobs:
        """The same content for a copy whose other side hashes every blob: sizes alone are looked at here."""
        return RemoteBlobs(self._session, hashes=False)

    @property
    def batch_limit_bytes(self) -> int:
        """Measured for what the remote takes in one message, less what the message itself weighs.

        0 when it knows no batches. Negotiates at the first use.
        """
        capabilities = self._session.capabilities()
        if not (capabilities.batch_read or capabilities.batch_update):
            return 0
        return room(capabilities.message_bytes)

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Asked in groups. The empty blob is asked for too: old servers want it uploaded."""
        missing: set[Digest] = set()
        remaining = iter(dict.fromkeys(digests))
        while group := list(islice(remaining, FIND_GROUP)):
            missing |= self._find_missing(group)
        return missing

    def _find_missing(self, group: Sequence[Digest]) -> set[Digest]:
        request = reapi.FindMissingBlobsRequest(instance_name=self._session.instance_name)
        add = request.blob_digests.add
        for hash_hex, size_bytes in group:
            add(hash=hash_hex, size_bytes=size_bytes)

        def read(answer: reapi.FindMissingBlobsResponse) -> set[Digest]:
            return set(all_from_wire(answer.missing_blob_digests))

        missing = self._session.unary(FIND_MISSING, request, read=read)
        if not missing.issubset(group):
            raise RemoteUnavailable("it says that blobs are missing nobody asked about", self._session.url)
        return missing

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, Piece]]:
        """In the order asked for. What is too large for a batch, or for this remote, is streamed."""
        capabilities = self._session.capabilities()
        found: dict[Digest, Piece] = {EMPTY: b""}
        batched: list[Digest] = []
        for digest in dict.fromkeys(digests):
            if digest == EMPTY:
                continue
            if capabilities.batch_read and digest.size_bytes <= room(capabilities.message_bytes):
                batched.append(digest)
            else:
                found[digest] = self._read_whole(digest)
        for group in grouped(
            batched, size_of=lambda digest: digest.size_bytes, message_bytes=capabilities.message_bytes
        ):
            found |= self._read_group(group)
        return [(digest, found[digest]) for digest in digests]

    def _read_group(self, group: Sequence[Digest]) -> dict[Digest, Piece]:
        try:
            return read_group(self._session, group, hashes=self._hashes)
        except CallFailed:
            # Too large for it after all, whatever it announced (wire-protocols section 11): split.
            if len(group) == 1:
                return {group[0]: self._read_whole(group[0])}
            half = len(group) // 2
            return self._read_group(group[:half]) | self._read_group(group[half:])

    def _read_whole(self, digest: Digest) -> bytes:
        return b"".join(self.read_stream(digest))

    def read_stream(self, digest: Digest) -> Iterator[Piece]:
        """In the pieces the remote sends. An iterator that is not used up ends the call when dropped."""
        if digest == EMPTY:
            return
        self._session.capabilities()
        yield from download(self._session, digest, hashes=self._hashes)

    def write_batch(self, blobs: Sequence[tuple[Digest, Piece]]) -> None:
        """Each blob is checked before it is sent; the first one that was refused raises."""
        capabilities = self._session.capabilities()
        batched: list[tuple[Digest, Piece]] = []
        for digest, data in dict(blobs).items():
            verified(digest, data, url="upload", hashes=self._hashes)
            if capabilities.batch_update and digest.size_bytes <= room(capabilities.message_bytes):
                batched.append((digest, data))
            else:
                upload(self._session, digest, (data,), hashes=False)
        for group in grouped(
            batched, size_of=lambda blob: blob[0].size_bytes, message_bytes=capabilities.message_bytes
        ):
            self._write_group(group)

    def _write_group(self, group: Sequence[tuple[Digest, Piece]]) -> None:
        try:
            update_group(self._session, group)
        except CallFailed:
            if len(group) == 1:
                upload(self._session, group[0][0], (group[0][1],), hashes=False)
                return
            half = len(group) // 2
            self._write_group(group[:half])
            self._write_group(group[half:])

    def write_stream(self, digest: Digest, chunks: Iterable[Piece]) -> None:
        """A sequence or other repeatable iterable is sent again after a transient failure."""
        self._session.capabilities()
        upload(self._session, digest, chunks, hashes=self._hashes)
