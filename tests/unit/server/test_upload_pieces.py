"""What an upload may look like on the wire."""

import pytest

from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest
from worker import zstd
from worker._protos.bytestream_pb2 import WriteRequest
from worker.server.resource_names import Resource
from worker.server.upload_pieces import Unfinished, UploadPieces


def pieces(*requests, size_bytes, as_zstd=False):
    first, *rest = requests
    return list(UploadPieces(first, iter(rest), Resource(Digest("ab" * 32, size_bytes), zstd=as_zstd)))


def piece(offset, data=b"", *, name="", finish=False):
    return WriteRequest(resource_name=name, write_offset=offset, data=data, finish_write=finish)


def test_pieces_come_out_in_order():
    assert pieces(piece(0, b"abc", name="n"), piece(3, b"de"), piece(5, finish=True), size_bytes=5) == [
        b"abc",
        b"de",
    ]


def test_the_empty_blob_is_one_request_without_data():
    assert pieces(piece(0, name="n", finish=True), size_bytes=0) == []


def test_the_name_may_be_repeated():
    assert pieces(piece(0, b"a", name="n"), piece(1, b"b", name="n", finish=True), size_bytes=2) == [
        b"a",
        b"b",
    ]


@pytest.mark.parametrize(
    ("requests", "size_bytes"),
    [
        ([piece(0, b"a", name="n"), piece(1, b"b", name="other", finish=True)], 2),
        ([piece(0, b"a", name="n"), piece(2, b"b", finish=True)], 2),
        ([piece(0, b"a", name="n"), piece(0, b"b", finish=True)], 2),
        ([piece(0, b"abc", name="n", finish=True)], 2),
        ([piece(0, b"a", name="n", finish=True)], 2),
        ([piece(0, b"ab", name="n")], 2),
        ([piece(0, b"ab", name="n", finish=True), piece(2, b"c", finish=True)], 2),
        ([piece(0, b"ab", name="n", finish=True), piece(2)], 2),
    ],
    ids=[
        "another name",
        "a gap",
        "an offset again",
        "too long",
        "too short",
        "no finish",
        "data after the finish",
        "a request after the finish",
    ],
)
def test_what_breaks_the_protocol_is_refused(requests, size_bytes):
    with pytest.raises(InvalidRequest):
        pieces(*requests, size_bytes=size_bytes)


def test_an_upload_that_goes_on_begins_where_the_other_ended():
    rest = (piece(3, b"de", name="n"), piece(5, b"f", finish=True))
    assert pieces(*rest, size_bytes=6) == [b"de", b"f"]
    with pytest.raises(InvalidRequest):
        pieces(*rest, size_bytes=7)


def test_what_ends_without_a_finish_may_go_on_later():
    with pytest.raises(Unfinished):
        pieces(piece(0, b"ab", name="n"), size_bytes=2)


def test_a_compressed_upload_begins_in_plain_bytes_and_goes_on_in_compressed_ones():
    requests = (piece(1000, b"abc", name="n"), piece(1003, b"de", finish=True))
    assert pieces(*requests, size_bytes=5000, as_zstd=True) == [b"abc", b"de"]
    assert pieces(piece(0, b"abcdef", name="n", finish=True), size_bytes=1, as_zstd=True) == [b"abcdef"]


def test_no_blob_is_so_long_when_compressed():
    most = zstd.most_bytes(10)
    assert pieces(piece(0, b"x" * most, name="n", finish=True), size_bytes=10, as_zstd=True)
    with pytest.raises(InvalidRequest):
        pieces(piece(0, b"x" * (most + 1), name="n", finish=True), size_bytes=10, as_zstd=True)
