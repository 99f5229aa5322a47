"""One blob written in pieces: checked before its last piece is sent, so that nothing false is finished.

As zstd where that is worth it, and from where it broke off if the remote keeps what it got (wire-protocols
section 4).
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import grpc

from caskeeper.errors import DigestMismatch
from worker import errand, status, zstd
from worker._protos import bytestream_pb2 as bytestream
from worker.protocols import CHUNK_BYTES
from worker.remote import compression
from worker.remote.calls import called
from worker.remote.failure import CallFailed
from worker.remote.hashing import hasher_of
from worker.remote.methods import QUERY_WRITE_STATUS, WRITE
from worker.stream_messages import WriteRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caskeeper.digest import Digest
    from worker.protocols import Piece
    from worker.remote.session import Session


#: A shorter upload is sent again sooner than asked about.
RESUMED_BYTES = 4 * CHUNK_BYTES
#: What a server says whose kept part is gone, or is not what we think: it is asked once more, then the upload
#: starts over.
_STALE = frozenset(
    {status.NOT_FOUND, status.INVALID_ARGUMENT, status.FAILED_PRECONDITION, status.OUT_OF_RANGE}
)
#: How a server that has the blob ends a compressed upload early.
_ALREADY_HERE = -1


def upload(session: Session, digest: Digest, chunks: Iterable[Piece], *, hashes: bool = True) -> None:
    """Send ``chunks`` as ``digest``. Raises DigestMismatch before the end when they are something else.

    Without ``hashes`` they have been hashed, and only how many they are is looked at.

    An iterable that can be iterated again (no iterator) is sent again after a transient failure, from where
    the remote has it if it keeps such things; an iterator is used up then, and the failure is the caller's
    to repeat.
    """
    repeatable = iter(chunks) is not chunks
    failures = 0
    asked_again = False
    attempt = _Attempt(session, digest, as_zstd=compression.of_streams(session), hashes=hashes)
    while True:
        try:
            return attempt.write(chunks)
        except CallFailed as failure:
            if repeatable and attempt.offset and failure.code in _STALE:
                # The call that broke off may have written more after the remote was asked; now it has ended.
                attempt = attempt.anew() if asked_again else attempt.next()
                asked_again = not asked_again
                continue
            if repeatable and attempt.as_zstd and failure.code in compression.NOT_SPOKEN:
                attempt = attempt.anew(as_zstd=False)  # whatever it announced
                continue
            failures += 1
            attempts = 0 if repeatable else 1
            session.pause(WRITE, failure, failures, attempts=attempts, where=str(digest))
            attempt = attempt.next()


class _Attempt:
    """One Write call under its own name, from the plain ``offset`` on that the remote has already."""

    def __init__(self, session: Session, digest: Digest, *, as_zstd: bool, hashes: bool) -> None:
        self.session = session
        self.digest = digest
        self.as_zstd = as_zstd
        self._hashes = hashes
        # D-35: two uploads of one blob must not meet under one name.
        self.name = compression.resource(session, digest, as_zstd=as_zstd, upload=str(uuid.uuid4()))
        self.offset = 0

    def anew(self, *, as_zstd: bool | None = None) -> _Attempt:
        """From the first byte on, under another name."""
        as_zstd = self.as_zstd if as_zstd is None else as_zstd
        return _Attempt(self.session, self.digest, as_zstd=as_zstd, hashes=self._hashes)

    def next(self) -> _Attempt:
        """After this one failed for a moment: go on with it where the remote says, else anew."""
        if self.digest.size_bytes < RESUMED_BYTES:
            return self.anew()
        request = bytestream.QueryWriteStatusRequest(resource_name=self.name)
        try:
            asked = self.session.connection.unary(QUERY_WRITE_STATUS)
            kept = called(asked, request, self.session.patience.probe_s).committed_size
        except CallFailed:
            return self.anew()  # it keeps nothing, or does not answer: sending says what is the matter
        # All of it: it is complete there, and what is sent is answered early.
        if not 0 < kept < self.digest.size_bytes:
            return self.anew()
        self.offset = kept
        return self

    def write(self, chunks: Iterable[Piece]) -> None:
        """Send the rest. Raises CallFailed, DigestMismatch."""
        patience = self.session.patience
        handover = _Handover()
        writer = self.session.connection.writer(WRITE)
        timeout_s = errand.bounded(patience.stream_s(self.digest.size_bytes))
        call = writer.future(handover, timeout=timeout_s)
        call.add_done_callback(lambda _call: handover.close())
        end = self.offset
        try:
            with errand.under_way(call.cancel):
                for request in self._requests(chunks):
                    # False: the call is over before its end, and its result says whether that is success.
                    if not handover.put(request, patience.silence_s):
                        break
                    end = request.write_offset + len(request.data)
                handover.finish()
                committed = call.result(timeout=patience.call_s).committed_size
        except grpc.RpcError as error:
            raise CallFailed.of(error) from None
        except grpc.FutureTimeoutError:
            late = f"no answer for {patience.call_s:g} s after the last byte"
            raise CallFailed(status.DEADLINE_EXCEEDED, late, final=True) from None
        except grpc.FutureCancelledError:
            raise CallFailed(status.CANCELLED, "the connection was closed here") from None
        finally:
            # First the call, so that a stream given up halfway does not look finished to the server.
            call.cancel()
            handover.close()
        taken = {self.digest.size_bytes, end, _ALREADY_HERE} if self.as_zstd else {self.digest.size_bytes}
        if committed not in taken:
            raise CallFailed(status.DATA_LOSS, f"took {committed} of {self.digest.size_bytes} bytes")

    def _requests(self, chunks: Iterable[Piece]) -> Iterator[WriteRequest]:
        """The requests of the call; the last one comes only when the whole matched the digest."""
        rest = _behind(_verified(self.digest, chunks, hashes=self._hashes), self.offset)
        offset = self.offset
        held: Piece = b""
        for piece in zstd.compressed(rest) if self.as_zstd else rest:
            if held:
                yield WriteRequest(resource_name=self.name, write_offset=offset, data=held)
                offset += len(held)
            held = piece
        yield WriteRequest(resource_name=self.name, write_offset=offset, finish_write=True, data=held)


def _verified(digest: Digest, chunks: Iterable[Piece], *, hashes: bool) -> Iterator[Piece]:
    """The pieces of ``chunks``, the last one only when the whole matched ``digest``."""
    hasher = hasher_of(digest, hashes=hashes)
    size_bytes = 0
    held: Piece = b""
    for piece in _pieces(chunks):
        if held:
            yield held
        size_bytes += len(piece)
        if size_bytes > digest.size_bytes:
            raise DigestMismatch(f"{digest} is to be sent and there are more bytes", "upload")
        hasher.update(piece)
        held = piece
    if size_bytes != digest.size_bytes:
        raise DigestMismatch(f"{digest} is to be sent and there are {size_bytes} bytes", "upload")
    if hasher.hexdigest() != digest.hash:
        raise DigestMismatch(f"{digest} is to be sent and the bytes are others", "upload")
    if held:
        yield held


def _behind(pieces: Iterable[Piece], offset: int) -> Iterator[Piece]:
    """``pieces`` without the first ``offset`` bytes, which the remote has."""
    for piece in pieces:
        if offset >= len(piece):
            offset -= len(piece)
        else:
            yield piece[offset:] if offset else piece
            offset = 0


def _pieces(chunks: Iterable[Piece]) -> Iterator[Piece]:
    """``chunks`` without empty ones, none larger than a message shall be."""
    for chunk in chunks:
        if len(chunk) <= CHUNK_BYTES:
            if chunk:
                yield chunk
        else:
            for start in range(0, len(chunk), CHUNK_BYTES):
                yield chunk[start : start + CHUNK_BYTES]


class _Handover:
    """Requests from the caller's thread to the one in which gRPC takes them, one at a time.

    The source of the bytes is so read in the caller's thread: its errors stay its own, and nothing reads
    from it any more when the call has returned.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._request: WriteRequest | None = None
        self._finished = False
        self._closed = False

    def __iter__(self) -> _Handover:
        return self

    def __next__(self) -> WriteRequest:
        with self._changed:
            while self._request is None and not (self._finished or self._closed):
                self._changed.wait()
            if self._closed or self._request is None:
                raise StopIteration
            request, self._request = self._request, None
            self._changed.notify_all()
            return request

    def put(self, request: WriteRequest, silence_s: float) -> bool:
        """False when the call is over. Raises CallFailed when the remote takes nothing for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._request is None or self._closed, silence_s):
                stuck = f"nothing was taken for {silence_s:g} s"
                raise CallFailed(status.DEADLINE_EXCEEDED, stuck, final=True)
            if self._closed:
                return False
            self._request = request
            self._changed.notify_all()
            return True

    def finish(self) -> None:
        """No further request."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """The call is over: nobody waits any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
