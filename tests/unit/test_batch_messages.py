"""Our own two messages of many blobs are protobuf's, byte for byte."""

from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.digest import Digest
from worker._protos import remote_execution_pb2 as wire
from worker.batch_messages import BatchReadResponse, BatchUpdateRequest
from worker.wire_digests import to_wire

#: Lengths of one, two and three bytes, alone and with what stands before them.
CONTENT = st.builds(
    bytes.__mul__, st.binary(max_size=3), st.integers(0, 130) | st.sampled_from([5400, 5440, 5461, 20_000])
)
ENTRIES = st.lists(
    st.tuples(CONTENT, st.sampled_from([wire.Compressor.IDENTITY, wire.Compressor.ZSTD])), max_size=4
)


def claimed(content, compressor):
    """The digest of what the content stands for."""
    return Digest.of(content + b"unpacked" if compressor else content)


@given(st.text(max_size=200), ENTRIES)
def test_a_request_of_an_update_is_protobufs(name, entries):
    ours, theirs = BatchUpdateRequest(name), wire.BatchUpdateBlobsRequest(instance_name=name)
    for content, compressor in entries:
        digest = claimed(content, compressor)
        ours.add(digest, content, compressor=compressor)
        theirs.requests.add(digest=to_wire(digest), data=content, compressor=compressor)
    assert ours.SerializeToString() == theirs.SerializeToString()


@given(ENTRIES, st.integers(0, 4))
def test_an_answer_of_a_read_is_protobufs(entries, at):
    ours, theirs = BatchReadResponse(), wire.BatchReadBlobsResponse()
    for place, (content, compressor) in enumerate(entries):
        digest = claimed(content, compressor)
        if place == at:
            status = status_pb2.Status(code=5, message="it is not here")
            ours.add_failure(to_wire(digest), status)
            theirs.responses.add(digest=to_wire(digest), status=status)
        else:
            ours.add(digest, content, compressor=compressor)
            status = status_pb2.Status()
            theirs.responses.add(digest=to_wire(digest), data=content, status=status, compressor=compressor)
    assert ours.SerializeToString() == theirs.SerializeToString()
    assert ours.ByteSize() == theirs.ByteSize()
    assert ours.content_bytes == sum(len(entry.data) for entry in theirs.responses)


def test_a_blob_of_another_length_than_its_digest_says_is_protobufs():
    digest = Digest.of(b"ten bytes.")
    request = BatchUpdateRequest()
    request.add(digest, b"ten")
    expected = wire.BatchUpdateBlobsRequest(requests=[{"digest": to_wire(digest), "data": b"ten"}])
    assert request.SerializeToString() == expected.SerializeToString()
