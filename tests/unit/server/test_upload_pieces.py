"""What an upload may look like on the wire."""

import pytest

from caskeeper.errors import InvalidRequest
from worker._protos.bytestream_pb2 import WriteRequest
from worker.server.bytestream import upload_pieces


def pieces(*requests, size_bytes):
    first, *rest = requests
    return list(upload_pieces(first, iter(rest), size_bytes))


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
