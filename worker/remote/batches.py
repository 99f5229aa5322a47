"""Small blobs, many to a message, each with a status of its own (wire-protocols sections 3 and 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError

from caskeeper.digest import Hasher
from caskeeper.errors import DigestMismatch
from worker import status, zstd
from worker._protos import remote_execution_pb2 as reapi
from worker.batch_messages import BatchUpdateRequest
from worker.remote import compression
from worker.remote.calls import called
from worker.remote.failure import CallFailed
from worker.remote.methods import BATCH_READ, BATCH_UPDATE
from worker.wire_digests import all_from_wire, all_to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caskeeper.digest import Digest
    from worker.batch_reading import BatchReadAnswer
    from worker.protocols import Piece
    from worker.remote.session import Session

Item = TypeVar("Item")

#: What an entry weighs beside its data at most: tags and lengths 12, digest 78, status and its text.
ENTRY_BYTES = 128
#: What a message weighs beside its entries: the instance name and room to spare.
MARGIN_BYTES = 1024


def room(message_bytes: int) -> int:
    """The largest blob that goes into a batch of this weight."""
    return max(0, message_bytes - MARGIN_BYTES - ENTRY_BYTES)


def grouped(
    items: Sequence[Item], *, size_of: Callable[[Item], int], message_bytes: int
) -> Iterator[list[Item]]:
    """``items`` in order, in groups whose messages weigh at most ``message_bytes`` when serialised."""
    group: list[Item] = []
    weight = MARGIN_BYTES
    for item in items:
        cost = size_of(item) + ENTRY_BYTES
        if group and weight + cost > message_bytes:
            yield group
            group, weight = [], MARGIN_BYTES
        group.append(item)
        weight += cost
    if group:
        yield group


def verified(digest: Digest, data: Piece, *, url: str, hashes: bool = True) -> Piece:
    """``data`` as it came, if it is what ``digest`` says. Raises DigestMismatch (D-21).

    Without ``hashes`` only its size is looked at: whoever gets it next hashes it.
    """
    if len(data) != digest.size_bytes:
        raise DigestMismatch(f"{digest} came with {len(data)} bytes", url)
    if hashes and Hasher(data).hexdigest() != digest.hash:
        raise DigestMismatch(f"{digest} came with other bytes", url)
    return data


def read_group(session: Session, digests: Sequence[Digest], *, hashes: bool = True) -> dict[Digest, Piece]:
    """One BatchReadBlobs, of blobs that are not empty; ``hashes`` as in ``verified``.

    Raises CallFailed when the message was too large for one side.
    """
    request = reapi.BatchReadBlobsRequest(
        instance_name=session.instance_name,
        digests=all_to_wire(digests),
        acceptable_compressors=[reapi.Compressor.ZSTD] if compression.of_streams(session) else [],
    )
    found: dict[Digest, Piece] = {}

    def once(left_s: float) -> None:
        # What came whole before a transient entry is kept, and overwritten by the same bytes.
        answer = called(session.connection.unary(BATCH_READ), request, left_s)
        contents = answer.contents(digests)
        if contents is not None:
            for digest, data in contents.items():
                found[digest] = verified(digest, data, url=session.url, hashes=hashes)
            return
        entries = _by_digest(_parsed(answer).responses, digests, what=BATCH_READ.name)
        for digest, entry in entries.items():
            _require_ok(entry.status, digest)
            plain = _plain(entry, digest, url=session.url)
            found[digest] = verified(digest, plain, url=session.url, hashes=hashes)

    budget_s = session.answer_s(BATCH_READ, sum(digest.size_bytes for digest in digests))
    session.attempt(BATCH_READ, once, budget_s=budget_s, where=_shown(digests), oversize=True)
    return found


def update_group(session: Session, blobs: Sequence[tuple[Digest, Piece]]) -> None:
    """One BatchUpdateBlobs; entries that failed for a moment are sent again, the others are not.

    Raises CallFailed when the message was too large for one side.
    """
    left = dict(blobs)
    packing = compression.of_updates(session)

    def once(left_s: float) -> None:
        request = BatchUpdateRequest(session.instance_name)
        for digest, data in left.items():
            _add(request, digest, data, packing=packing)
        response = called(session.connection.unary(BATCH_UPDATE), request, left_s)
        failures: list[CallFailed] = []
        for digest, entry in _by_digest(response.responses, tuple(left), what=BATCH_UPDATE.name).items():
            try:
                _require_ok(entry.status, digest)
            except CallFailed as failure:
                failures.append(failure)
            else:
                del left[digest]
        if failures:
            # What is final decides: sending the others again would not save the batch.
            raise min(failures, key=lambda failure: failure.transient)

    session.attempt(
        BATCH_UPDATE, once, budget_s=session.patience.call_s, where=_shown(tuple(left)), oversize=True
    )


def _add(request: BatchUpdateRequest, digest: Digest, data: Piece, *, packing: bool) -> None:
    """One blob to be sent, as zstd where it is shorter so."""
    packed = zstd.pack(data) if packing else data
    if len(packed) < len(data):
        request.add(digest, packed, compressor=reapi.Compressor.ZSTD)
    else:
        request.add(digest, data)


def _plain(entry: Any, digest: Digest, *, url: str) -> bytes:
    """The bytes of an entry that came. DigestMismatch for what is no zstd, or too much of it."""
    if entry.compressor == reapi.Compressor.IDENTITY:
        return bytes(entry.data)
    if entry.compressor != reapi.Compressor.ZSTD:
        raise DigestMismatch(f"{digest} came in a form that was not asked for", url)
    try:
        return zstd.unpack(entry.data, size_bytes=digest.size_bytes)
    except DigestMismatch as wrong:
        raise DigestMismatch(f"{digest} came as something else: {wrong.what}", url) from None


def _parsed(answer: BatchReadAnswer) -> reapi.BatchReadBlobsResponse:
    try:
        return answer.parsed()
    except DecodeError as error:
        raise CallFailed(status.INTERNAL, f"its answer cannot be read: {error}") from None


def _shown(digests: Sequence[Digest]) -> str:
    return f"{digests[0]}" if len(digests) == 1 else f"a batch of {len(digests)}"


def _require_ok(entry: Any, digest: Digest) -> None:
    if entry.code != status.OK:
        raise CallFailed(entry.code, f"{digest}: {entry.message}", entry=True)


def _by_digest(entries: Any, asked: Sequence[Digest], *, what: str) -> dict[Digest, Any]:
    """The entries of an answer, one for each digest asked for and for no other."""
    answered = dict(zip(all_from_wire([entry.digest for entry in entries]), entries, strict=True))
    if len(answered) != len(entries) or answered.keys() != set(asked):
        raise CallFailed(
            status.DATA_LOSS, f"{what} was asked about {len(asked)} blobs and answered about other ones"
        )
    return answered
