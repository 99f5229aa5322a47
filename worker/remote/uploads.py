"""One blob written in pieces: checked before its last piece is sent, so that nothing false is finished."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import grpc

from caskeeper.digest import Hasher
from caskeeper.errors import DigestMismatch
from worker import status
from worker._protos import bytestream_pb2 as bytestream
from worker.protocols import CHUNK_BYTES
from worker.remote.failure import CallFailed
from worker.remote.methods import WRITE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caskeeper.digest import Digest
    from worker.remote.session import Session


def upload(session: Session, digest: Digest, chunks: Iterable[bytes]) -> None:
    """Send ``chunks`` as ``digest``. Raises DigestMismatch before the end when they are something else.

    An iterable that can be iterated again (no iterator) is sent again after a transient failure; an
    iterator is used up then, and the failure is the caller's to repeat.
    """
    repeatable = iter(chunks) is not chunks
    failures = 0
    while True:
        try:
            return _write(session, digest, chunks)
        except CallFailed as failure:
            failures += 1
            attempts = 0 if repeatable else 1
            session.pause(WRITE, failure, failures, attempts=attempts, where=str(digest))


def _write(session: Session, digest: Digest, chunks: Iterable[bytes]) -> None:
    patience = session.patience
    handover = _Handover()
    writer = session.connection.writer(WRITE)
    call = writer.future(handover, timeout=patience.stream_s(digest.size_bytes))
    call.add_done_callback(lambda _call: handover.close())
    try:
        for request in _requests(_resource(session, digest), digest, chunks):
            # False: the call is over before its end, and its result says whether that is success.
            if not handover.put(request, patience.silence_s):
                break
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
    if committed != digest.size_bytes:
        raise CallFailed(status.DATA_LOSS, f"took {committed} of {digest.size_bytes} bytes")


def _resource(session: Session, digest: Digest) -> str:
    prefix = f"{session.instance_name}/" if session.instance_name else ""
    # D-35: two uploads of one blob must not meet under one name.
    return f"{prefix}uploads/{uuid.uuid4()}/blobs/{digest}"


def _requests(resource: str, digest: Digest, chunks: Iterable[bytes]) -> Iterator[bytestream.WriteRequest]:
    """The requests of one Write; the last one comes only when the whole matched ``digest``."""
    hasher = Hasher()
    offset = 0
    held = b""
    for piece in _pieces(chunks):
        if held:
            yield bytestream.WriteRequest(resource_name=resource, write_offset=offset, data=held)
            offset += len(held)
        if offset + len(piece) > digest.size_bytes:
            raise DigestMismatch(f"{digest} is to be sent and there are more bytes", "upload")
        hasher.update(piece)
        held = piece
    if offset + len(held) != digest.size_bytes:
        raise DigestMismatch(f"{digest} is to be sent and there are {offset + len(held)} bytes", "upload")
    if hasher.hexdigest() != digest.hash:
        raise DigestMismatch(f"{digest} is to be sent and the bytes are others", "upload")
    yield bytestream.WriteRequest(resource_name=resource, write_offset=offset, finish_write=True, data=held)


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
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
        self._request: bytestream.WriteRequest | None = None
        self._finished = False
        self._closed = False

    def __iter__(self) -> _Handover:
        return self

    def __next__(self) -> bytestream.WriteRequest:
        with self._changed:
            while self._request is None and not (self._finished or self._closed):
                self._changed.wait()
            if self._closed or self._request is None:
                raise StopIteration
            request, self._request = self._request, None
            self._changed.notify_all()
            return request

    def put(self, request: bytestream.WriteRequest, silence_s: float) -> bool:
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
