"""Our own two messages of ByteStream are protobuf's, byte for byte on the way out, whatever comes in."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from worker._protos import bytestream_pb2 as wire
from worker.stream_messages import ReadResponse, WriteRequest

#: Lengths of one, two and three bytes.
CONTENT = st.builds(bytes.__mul__, st.binary(max_size=9), st.sampled_from([1, 15, 16, 1820, 1821, 20_000]))
OFFSETS = st.integers(0, 2**63 - 1) | st.integers(0, 300)
#: Fields in any order, repeated, unknown, of other wire types, and with varints longer than need be.
FIELDS = st.sampled_from(
    [
        b"\x0a\x01n",
        b"\x0a\x00",
        b"\x0a\x02\xff\xfe",
        b"\x0a\x81\x00n",
        b"\x10\x05",
        b"\x10" + b"\xff" * 9 + b"\x01",
        b"\x18\x01",
        b"\x18\x00",
        b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        b"\x52\x03abc",
        b"\x52\x00",
        b"\x52\x83\x80\x00abc",
        b"\x22\x01x",
        b"\x50\x07",
        b"\x08\x01",
        b"\x9a\x06\x01x",
        b"\x52\x7f",
        b"\x80",
    ]
)
BYTES = st.binary(max_size=40) | st.lists(FIELDS, max_size=6).map(b"".join)


@given(CONTENT)
def test_an_answer_of_a_read_is_protobufs(data):
    encoded = ReadResponse(data).SerializeToString()
    assert encoded == wire.ReadResponse(data=data).SerializeToString()
    assert ReadResponse.FromString(encoded) == ReadResponse(data)


@given(st.text(max_size=200), OFFSETS, st.booleans(), CONTENT)
def test_a_request_of_an_upload_is_protobufs(name, offset, finish, data):
    request = WriteRequest(name, offset, finish, data)
    encoded = request.SerializeToString()
    assert (
        encoded
        == wire.WriteRequest(
            resource_name=name, write_offset=offset, finish_write=finish, data=data
        ).SerializeToString()
    )
    assert WriteRequest.FromString(encoded) == request


@given(BYTES)
@example(b"\x52\x01ab")
@example(b"\x52\x02a")
def test_whatever_comes_is_read_as_protobuf_reads_it(message):
    for ours, theirs in ((ReadResponse, wire.ReadResponse), (WriteRequest, wire.WriteRequest)):
        try:
            expected = theirs.FromString(message)
        except DecodeError:
            with pytest.raises(DecodeError):
                ours.FromString(message)
        else:
            assert ours.FromString(message) == ours(*(getattr(expected, name) for name in ours._fields))
