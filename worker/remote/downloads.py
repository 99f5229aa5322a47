"""One blob read in pieces: verified before its last piece is handed on, resumed where it broke off.

As zstd where that is worth it (``worker.remote.compression``); offsets and digests are of the plain bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from caskeeper.errors import DigestMismatch
from worker import errand, status, zstd
from worker._protos import bytestream_pb2 as bytestream
from worker.remote import compression
from worker.remote.failure import CallFailed
from worker.remote.hashing import hasher_of
from worker.remote.methods import READ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.digest import Digest
    from worker.protocols import Piece
    from worker.remote.session import Session


def download(session: Session, digest: Digest, *, hashes: bool = True) -> Iterator[Piece]:
    """The bytes of ``digest``. A stream that is short, long or other bytes is DigestMismatch (D-21).

    Without ``hashes`` other bytes are left to be found by whoever gets them.

    A transient failure resumes behind the last byte received, a bounded number of times; silence is not
    waited for twice.
    """
    hasher = hasher_of(digest, hashes=hashes)
    received = 0
    held: Piece = b""
    failures = 0
    as_zstd = compression.of_streams(session)
    while True:
        pieces = _plain_from(session, digest, received) if as_zstd else _read_from(session, digest, received)
        try:
            for piece in pieces:
                received += len(piece)
                if received > digest.size_bytes:
                    raise DigestMismatch(f"{digest} came with more bytes than that", session.url)
                hasher.update(piece)
                if held:
                    yield held
                held = piece
            break
        except CallFailed as failure:
            if as_zstd and failure.code in compression.NOT_SPOKEN:
                as_zstd = False  # whatever it announced
                continue
            failures += 1
            session.pause(READ, failure, failures, where=str(digest))
        finally:
            pieces.close()
    if received != digest.size_bytes:
        raise DigestMismatch(f"{digest} came with {received} bytes", session.url)
    if hasher.hexdigest() != digest.hash:
        raise DigestMismatch(f"{digest} came with other bytes", session.url)
    if held:
        yield held


def _plain_from(session: Session, digest: Digest, offset: int) -> Any:
    """As ``_read_from``, travelling as zstd. DigestMismatch for what is none."""
    pieces = _read_from(session, digest, offset, as_zstd=True)
    try:
        yield from zstd.decompressed(pieces)
    except DigestMismatch as wrong:
        raise DigestMismatch(f"{digest} came as something else: {wrong.what}", session.url) from None
    finally:
        pieces.close()


def _read_from(session: Session, digest: Digest, offset: int, *, as_zstd: bool = False) -> Any:
    """One Read call from ``offset`` on, under watch. Raises CallFailed; closing it ends the call."""
    name = compression.resource(session, digest, as_zstd=as_zstd)
    request = bytestream.ReadRequest(resource_name=name, read_offset=offset)
    timeout_s = errand.bounded(session.patience.stream_s(digest.size_bytes - offset))
    call = session.connection.reader(READ)(request, timeout=timeout_s)
    watch = session.watchdog.watch(call.cancel)
    try:
        with errand.under_way(call.cancel):
            answers = iter(call)
            while True:
                watch.wait()
                try:
                    answer = next(answers)
                except StopIteration:
                    return
                watch.moved()
                if answer.data:
                    yield answer.data
    except grpc.RpcError as error:
        if watch.expired:
            silence = f"nothing came for {session.patience.silence_s:g} s"
            raise CallFailed(status.DEADLINE_EXCEEDED, silence, final=True) from None
        raise CallFailed.of(error) from None
    finally:
        session.watchdog.leave(watch)
        call.cancel()
