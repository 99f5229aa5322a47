"""Streams that stand still take no threads from others (B.19)."""

import os
import threading

import grpc
import pytest
from harness.serving import message, refusal, serving, settled, upload_name

from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as wire
from worker._protos import remote_execution_pb2 as reapi
from worker.server import app, streams

CODE = grpc.StatusCode


@pytest.fixture(params=[False, True], ids=["writable", "read-only"])
def read_only(request):
    return request.param


@pytest.fixture
def large(services):
    """A blob that does not fit into what a stream sends ahead."""
    data = os.urandom(8_000_000)
    digest = Digest.of(data)
    with serving(services) as writer:
        writer.write(wire.WriteRequest(resource_name=upload_name(digest), data=data[:4_000_000]), *rest(data))
    return digest, data


def rest(data):
    yield wire.WriteRequest(write_offset=4_000_000, data=data[4_000_000:7_000_000])
    yield wire.WriteRequest(write_offset=7_000_000, data=data[7_000_000:], finish_write=True)


def unread(peer, digest):
    """A read whose client takes the first piece and no more."""
    call = peer.bytestream.Read(wire.ReadRequest(resource_name=f"blobs/{digest}"))
    next(call)
    return call


def silent(stop):
    """Requests of a client that sends none."""
    stop.wait()
    yield from ()


def answered(peer):
    return peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest(), timeout=30)


def test_unary_calls_have_threads_while_as_many_streams_as_may_stand_still(
    services, large, read_only, monkeypatch
):
    with serving(services, read_only=read_only) as peer:
        calls = [unread(peer, large[0]) for _ in range(streams.STREAMS)]
        again = [wire.ReadRequest(resource_name=f"blobs/{large[0]}")] * (app.THREADS + 1)
        for request in again:
            assert refusal(lambda asked: list(peer.bytestream.Read(asked)), request) is CODE.UNAVAILABLE
        assert answered(peer).cache_capabilities
        calls.pop().cancel()
        settled(lambda: _reads(peer, large))


def _reads(peer, large):
    try:
        return peer.read(f"blobs/{large[0]}") == large[1]
    except grpc.RpcError:
        return False


def test_a_stream_that_is_not_read_is_ended(services, large, read_only, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)
    monkeypatch.setattr(streams, "STREAMS", 1)
    with serving(services, read_only=read_only) as peer:
        call = unread(peer, large[0])
        settled(lambda: _reads(peer, large))
        with pytest.raises(grpc.RpcError):
            list(call)
        assert call.code() is CODE.CANCELLED


def test_an_upload_that_sends_nothing_is_ended_and_leaves_nothing(services, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)
    monkeypatch.setattr(streams, "STREAMS", 1)
    digest = Digest.of(b"content")
    stop = threading.Event()

    def begun():
        yield wire.WriteRequest(resource_name=upload_name(digest), data=b"con")
        stop.wait()

    with serving(services) as peer:
        for requests in (lambda: silent(stop), begun):
            while (code := refusal(peer.bytestream.Write, requests())) is CODE.UNAVAILABLE:
                pass  # a client hears of its end before the server has let go of the stream's place
            assert code is CODE.CANCELLED
        stop.set()
        assert peer.missing(digest) == [digest]
        whole = wire.WriteRequest(resource_name=upload_name(digest), data=b"content", finish_write=True)
        settled(lambda: _writes(peer, whole))
        assert peer.missing(digest) == []


def _writes(peer, request):
    try:
        return peer.write(request) == 7
    except grpc.RpcError:
        return False


def test_a_unary_call_whose_message_does_not_come_is_ended(services, read_only, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)
    stop = threading.Event()
    with serving(services, read_only=read_only) as peer:
        name = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
        method = peer.channel.stream_unary(
            name, request_serializer=reapi.FindMissingBlobsRequest.SerializeToString
        )
        calls = [method.future(silent(stop)) for _ in range(app.THREADS)]
        assert answered(peer).cache_capabilities
        assert {call.code() for call in calls} == {CODE.CANCELLED}
        stop.set()
        assert refusal(method, iter(())) is CODE.INVALID_ARGUMENT


def test_streams_that_move_are_never_ended(services, large, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.5)
    digest, data = large
    pause = threading.Event()
    with serving(services) as peer:
        pieces = []
        for answer in peer.bytestream.Read(wire.ReadRequest(resource_name=f"blobs/{digest}")):
            pieces.append(answer.data)
            pause.wait(0.01)
        assert b"".join(pieces) == data
        assert peer.missing(Digest.of(b"absent"), digest) == [Digest.of(b"absent")]
        request = reapi.BatchReadBlobsRequest(digests=[message(Digest.of(b"absent"))])
        assert len(peer.cas.BatchReadBlobs(request).responses) == 1
