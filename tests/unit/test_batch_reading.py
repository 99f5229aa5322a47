"""What is read of a batch without protobuf is what protobuf reads, or is left to it."""

import pytest
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from caskeeper.digest import Digest
from worker._protos import remote_execution_pb2 as wire
from worker.batch_messages import BatchReadResponse, BatchUpdateRequest
from worker.batch_reading import BatchReadAnswer, BatchUpdate, BatchUpdateAnswer
from worker.wire_digests import to_wire

CONTENT = st.builds(
    bytes.__mul__, st.binary(max_size=3), st.integers(0, 130) | st.sampled_from([5400, 5440, 5461, 20_000])
)
SOME = st.lists(CONTENT, max_size=4, unique=True)
IDENTITY, ZSTD = wire.Compressor.IDENTITY, wire.Compressor.ZSTD


def blobs(contents):
    return {Digest.of(content): content for content in contents}


def read_answer(found, *, with_status=True, **options):
    answer = wire.BatchReadBlobsResponse()
    for digest, content in found.items():
        entry = answer.responses.add(digest=to_wire(digest), data=content, **options)
        if with_status:
            entry.status.SetInParent()
    return answer


def update(found, name="", **options):
    request = wire.BatchUpdateBlobsRequest(instance_name=name)
    for digest, content in found.items():
        request.requests.add(digest=to_wire(digest), data=content, **options)
    return request


def uploads(message):
    return [(upload.digest, bytes(upload.data), upload.compressor) for upload in message.uploads]


def by_protobuf(message):
    requests = wire.BatchUpdateBlobsRequest.FromString(message).requests
    return [((one.digest.hash, one.digest.size_bytes), one.data, one.compressor) for one in requests]


# -- an answer --------------------------------------------------------------------------------------------


@given(SOME.filter(lambda contents: b"" not in contents), st.booleans())
def test_an_answer_as_everybody_writes_it_is_read(contents, with_status):
    found = blobs(contents)
    answer = BatchReadAnswer.FromString(read_answer(found, with_status=with_status).SerializeToString())
    assert answer.contents(list(found)) == found


@given(SOME.filter(lambda contents: b"" not in contents))
def test_our_own_answer_is_read(contents):
    found, written = blobs(contents), BatchReadResponse()
    for digest, content in found.items():
        written.add(digest, content)
    assert BatchReadAnswer(written.SerializeToString()).contents(list(found)) == found


FOUND = blobs([b"one", b"another", b"third"])
FIRST = next(iter(FOUND))


def trouble():
    answer = read_answer(FOUND)
    answer.responses[1].ClearField("data")
    answer.responses[1].status.CopyFrom(status_pb2.Status(code=5, message="it is not here"))
    return answer


def repeated():
    answer = read_answer(FOUND)
    answer.responses.append(answer.responses[0])
    return answer


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (trouble(), FOUND),
        (repeated(), FOUND),
        (read_answer(FOUND), reversed(FOUND)),
        (read_answer(FOUND), list(FOUND)[:2]),
        (read_answer(FOUND), [*FOUND, Digest.of(b"more")]),
        (read_answer(FOUND), [*FOUND, FIRST]),
        (read_answer(FOUND, compressor=ZSTD), FOUND),
        (read_answer({Digest(FIRST.hash, 4): b"one"}), [Digest(FIRST.hash, 4)]),
        (wire.BatchReadBlobsResponse(), FOUND),
    ],
    ids=["trouble", "twice", "order", "more", "fewer", "asked twice", "compressed", "size", "nothing"],
)
def test_everything_else_is_left_to_protobuf(answer, asked):
    ours = BatchReadAnswer(answer.SerializeToString())
    assert ours.contents(list(asked)) is None
    assert ours.parsed() == answer


def test_an_answer_of_which_some_entries_leave_the_status_out_is_left_to_protobuf():
    answer = read_answer(FOUND)
    answer.responses[2].ClearField("status")
    assert BatchReadAnswer(answer.SerializeToString()).contents(list(FOUND)) is None


@given(st.data())
def test_no_damaged_answer_is_taken_for_a_whole_one(data):
    message = bytearray(read_answer(FOUND).SerializeToString())
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    contents = BatchReadAnswer(bytes(message)).contents(list(FOUND))
    if contents is not None:  # a byte of content: whoever stores it hashes it
        assert {digest: len(content) for digest, content in contents.items()} == {
            digest: digest.size_bytes for digest in FOUND
        }
        assert sum(bytes(contents[digest]) != FOUND[digest] for digest in FOUND) == 1
    assert BatchReadAnswer(bytes(message[:at])).contents(list(FOUND)) is None


# -- a request --------------------------------------------------------------------------------------------


@given(st.text(max_size=200), SOME, st.sampled_from([IDENTITY, ZSTD]))
def test_a_request_is_read_as_protobuf_reads_it(name, contents, compressor):
    message = update(blobs(contents), name, compressor=compressor).SerializeToString()
    request = BatchUpdate.FromString(message)
    assert uploads(request) == by_protobuf(message)
    assert request.content_bytes == sum(map(len, contents))


def test_our_own_request_is_read_without_a_copy():
    written = BatchUpdateRequest("instance")
    for digest, content in FOUND.items():
        written.add(digest, content)
    request = BatchUpdate.FromString(written.SerializeToString())
    assert uploads(request) == [(digest, content, IDENTITY) for digest, content in FOUND.items()]
    assert all(isinstance(upload.data, memoryview) for upload in request.uploads)


@given(st.data())
def test_a_damaged_request_is_read_as_protobuf_reads_it(data):
    message = bytearray(update(FOUND, "name").SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(message[: data.draw(st.integers(0, len(message)))])
    try:
        expected = by_protobuf(damaged)
    except DecodeError:
        with pytest.raises(DecodeError):
            BatchUpdate.FromString(damaged)
    else:
        assert uploads(BatchUpdate.FromString(damaged)) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_protobuf_reads_them(message):
    try:
        expected = by_protobuf(message)
    except DecodeError:
        with pytest.raises(DecodeError):
            BatchUpdate.FromString(message)
    else:
        assert uploads(BatchUpdate.FromString(message)) == expected


# -- and its answer ---------------------------------------------------------------------------------------


@given(SOME, st.integers(0, 4))
def test_the_answer_to_a_request_is_protobufs(contents, at):
    ours, theirs = BatchUpdateAnswer(), wire.BatchUpdateBlobsResponse()
    for place, digest in enumerate(blobs(contents)):
        status = status_pb2.Status(code=8, message="full") if place == at else None
        ours.add(digest, status)
        theirs.responses.add(digest=to_wire(digest), status=status or status_pb2.Status())
    assert ours.SerializeToString() == theirs.SerializeToString()


@pytest.mark.parametrize("digest", [("", 0), ("", 5), ("no hash", 7), ("a" * 64, -1), ("ä" * 64, 3)])
def test_what_is_no_digest_is_repeated_as_it_came(digest):
    ours, theirs = BatchUpdateAnswer(), wire.BatchUpdateBlobsResponse()
    ours.add(Digest(*digest))
    theirs.responses.add(digest={"hash": digest[0], "size_bytes": digest[1]}, status=status_pb2.Status())
    assert ours.SerializeToString() == theirs.SerializeToString()
