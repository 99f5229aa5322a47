"""Blobs as a peer meets them: plain generated stubs over loopback (wire-protocols sections 3, 4 and 12)."""

import os
import threading

import grpc
import pytest
from harness.serving import entry, make_old, message, refusal, staged, upload_name

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2 import ReadRequest, WriteRequest

CODE = grpc.StatusCode
TEN = b"0123456789"


# -- FindMissing ---------------------------------------------------------------------------------------


def test_find_missing_answers_for_hash_and_size_each_once_in_order(peer):
    (here,) = peer.upload(b"here")
    other_size = Digest(here.hash, 5)
    absent = Digest.of(b"absent")
    assert peer.missing(absent, here, other_size, EMPTY, absent) == [absent, other_size]


def test_find_missing_makes_young_what_is_there(peer, services):
    (here,) = peer.upload(b"here")
    path = services.layout.object(here.hash)
    make_old(path)
    assert peer.missing(here) == []
    folder, _ = staged(services)
    start = f"{services.layout.operation(folder)}/start"
    assert os.stat(path).st_atime_ns >= os.stat(start).st_mtime_ns


@pytest.mark.parametrize(
    ("hash_hex", "size_bytes"), [("AB" * 32, 1), ("ab", 1), ("", 0), ("ab" * 32, -1), ("../" + "a" * 61, 1)]
)
def test_find_missing_refuses_what_is_no_digest(peer, hash_hex, size_bytes):
    request = reapi.FindMissingBlobsRequest(blob_digests=[reapi.Digest(hash=hash_hex, size_bytes=size_bytes)])
    assert refusal(peer.cas.FindMissingBlobs, request) is CODE.INVALID_ARGUMENT


# -- batches -------------------------------------------------------------------------------------------


def read_batch(peer, *digests):
    return peer.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest(digests=digests)).responses


def test_a_batch_comes_back_as_it_went_in(peer):
    blobs = [b"one", b"", b"two" * 1000, bytes(range(256))]
    answers = read_batch(peer, *map(message, peer.upload(*blobs)))
    assert [answer.data for answer in answers] == blobs
    assert [answer.status.code for answer in answers] == [0] * 4


def test_each_entry_of_a_batch_update_has_its_own_status(peer):
    good, other, claimed = Digest.of(b"good"), Digest.of(b"another good one"), Digest.of(b"claimed")
    request = reapi.BatchUpdateBlobsRequest(
        requests=[
            entry(good, b"good"),
            entry(claimed, b"forged!"),
            entry(Digest(Digest.of(b"short").hash, 99), b"short"),
            reapi.BatchUpdateBlobsRequest.Request(
                digest=reapi.Digest(hash="no hash", size_bytes=1), data=b"x"
            ),
            entry(Digest.of(b"zipped"), b"zipped", compressor=2),
            entry(other, b"another good one"),
        ]
    )
    answers = peer.cas.BatchUpdateBlobs(request).responses
    assert [answer.status.code for answer in answers] == [0, 9, 9, 3, 3, 0]
    assert [answer.digest for answer in answers] == [asked.digest for asked in request.requests]
    assert peer.missing(good, other, claimed) == [claimed]


def test_each_entry_of_a_batch_read_has_its_own_status(peer):
    (here,) = peer.upload(b"here")
    asked = [
        message(Digest.of(b"absent")),
        message(Digest(here.hash, 3)),
        reapi.Digest(hash="x", size_bytes=1),
        message(here),
    ]
    answers = read_batch(peer, *asked)
    assert [answer.status.code for answer in answers] == [5, 5, 3, 0]
    assert [answer.digest for answer in answers] == asked


def test_a_batch_over_the_limit_is_refused_whole(peer):
    first, second = b"x" * (600 * 1024), b"y" * (600 * 1024)
    request = reapi.BatchUpdateBlobsRequest(
        requests=[entry(Digest.of(first), first), entry(Digest.of(second), second)]
    )
    assert refusal(peer.cas.BatchUpdateBlobs, request) is CODE.INVALID_ARGUMENT
    assert peer.missing(Digest.of(first)) == [Digest.of(first)]
    digests = [*peer.upload(first), *peer.upload(second)]
    assert refusal(read_batch, peer, *map(message, digests)) is CODE.INVALID_ARGUMENT


def test_a_negative_size_does_not_lift_the_limit(peer):
    (large,) = map(message, peer.upload(b"x" * (1024 * 1024)))
    negative = reapi.Digest(hash=large.hash, size_bytes=-(2**21))
    assert refusal(read_batch, peer, large, large, negative) is CODE.INVALID_ARGUMENT


# -- Read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "limit", "start", "end"),
    [(0, 0, 0, 10), (3, 0, 3, 10), (3, 4, 3, 7), (8, 9, 8, 10), (10, 0, 10, 10)],
)
def test_a_read_begins_and_ends_where_it_is_told(peer, offset, limit, start, end):
    (digest,) = peer.upload(TEN)
    assert peer.read(f"blobs/{digest}", offset=offset, limit=limit) == TEN[start:end]


@pytest.mark.parametrize(
    ("offset", "limit", "code"),
    [(11, 0, CODE.OUT_OF_RANGE), (-1, 0, CODE.OUT_OF_RANGE), (0, -1, CODE.INVALID_ARGUMENT)],
)
def test_a_read_outside_the_blob_is_refused(peer, offset, limit, code):
    (digest,) = peer.upload(TEN)
    assert refusal(peer.read, f"blobs/{digest}", offset=offset, limit=limit) is code


def test_a_read_of_what_is_not_there_is_not_found(peer):
    (digest,) = peer.upload(b"here")
    absent = f"blobs/{Digest.of(b'absent')}"
    for name in (absent, f"blobs/{digest.hash}/3", "nonsense", "blobs/../../etc/passwd/1"):
        assert refusal(peer.read, name) is CODE.NOT_FOUND
    assert refusal(peer.read, absent, offset=99) is CODE.NOT_FOUND


def test_what_is_not_served_says_so(peer):
    assert refusal(peer.read, f"compressed-blobs/deflate/{EMPTY}") is CODE.INVALID_ARGUMENT
    assert refusal(peer.read, f"blobs/sha512/{EMPTY}") is CODE.INVALID_ARGUMENT


# -- Write ---------------------------------------------------------------------------------------------


def test_a_large_blob_goes_in_and_out_in_pieces(peer, services):
    data = os.urandom(3 * 1024 * 1024 + 17)
    digest, step = Digest.of(data), 700 * 1024
    offsets = range(0, len(data), step)
    name = upload_name(digest, instance="a/b/")
    committed = peer.write(
        *(
            WriteRequest(
                resource_name=name if offset == 0 else "",
                write_offset=offset,
                data=data[offset : offset + step],
                finish_write=offset == offsets[-1],
            )
            for offset in offsets
        )
    )
    assert committed == len(data)
    assert peer.read(f"a/b/blobs/{digest}") == data
    assert peer.read(str(digest)) == data
    pieces = [len(answer.data) for answer in peer.bytestream.Read(ReadRequest(resource_name=str(digest)))]
    assert max(pieces) <= 1024 * 1024
    assert os.stat(services.layout.object(digest.hash)).st_mode & 0o777 == 0o444


def test_the_empty_blob_is_always_there(peer):
    assert peer.read(f"blobs/{EMPTY}") == b""
    assert peer.write(WriteRequest(resource_name=upload_name(EMPTY), finish_write=True)) == 0


def test_an_upload_of_what_is_there_is_answered_before_its_data(peer):
    (digest,) = peer.upload(b"x" * 1000)
    answered = threading.Event()

    def never_ending():
        yield WriteRequest(resource_name=upload_name(digest), data=b"x")
        answered.wait()

    assert peer.bytestream.Write(never_ending()).committed_size == 1000
    answered.set()


def broken_uploads():
    name, other = upload_name(Digest.of(TEN)), upload_name(Digest.of(TEN))
    begun = WriteRequest(resource_name=name, data=TEN[:3])
    whole = WriteRequest(resource_name=name, data=TEN, finish_write=True)
    rest = TEN[3:]
    return {
        "first offset": [WriteRequest(resource_name=name, write_offset=3, data=rest, finish_write=True)],
        "a gap": [begun, WriteRequest(write_offset=4, data=rest, finish_write=True)],
        "too long": [WriteRequest(resource_name=name, data=TEN + b"x", finish_write=True)],
        "too short": [WriteRequest(resource_name=name, data=TEN[:9], finish_write=True)],
        "other bytes": [WriteRequest(resource_name=name, data=TEN[::-1], finish_write=True)],
        "no finish": [begun, WriteRequest(write_offset=3, data=rest)],
        "after the finish": [whole, WriteRequest(write_offset=10)],
        "another name": [
            begun,
            WriteRequest(resource_name=other, write_offset=3, data=rest, finish_write=True),
        ],
    }


@pytest.mark.parametrize("how", broken_uploads())
def test_an_upload_that_breaks_the_protocol_leaves_nothing(peer, services, how):
    assert refusal(peer.write, *broken_uploads()[how]) is CODE.FAILED_PRECONDITION
    assert peer.missing(Digest.of(TEN)) == [Digest.of(TEN)]
    assert staged(services)[1] == []


@pytest.mark.parametrize(
    "name", ["", "blobs/x/1", f"uploads/1/blobs/{EMPTY}", f"uploads/../../blobs/{EMPTY}"]
)
def test_an_upload_to_no_place_is_not_found(peer, name):
    assert refusal(peer.write, WriteRequest(resource_name=name, finish_write=True)) is CODE.NOT_FOUND


def test_an_upload_without_a_request_is_refused(peer):
    assert refusal(peer.write) is CODE.INVALID_ARGUMENT


def test_two_uploads_of_one_blob_at_once_both_succeed_and_leave_nothing_else(peer, services):
    digest = Digest.of(TEN)

    def halves():
        yield WriteRequest(resource_name=upload_name(digest), data=TEN[:5])
        whole = WriteRequest(resource_name=upload_name(digest), data=TEN, finish_write=True)
        assert peer.write(whole) == 10
        yield WriteRequest(write_offset=5, data=TEN[5:], finish_write=True)

    assert peer.bytestream.Write(halves()).committed_size == 10
    assert peer.read(f"blobs/{digest}") == TEN
    assert staged(services)[1] == []
