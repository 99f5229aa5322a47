"""zstd on the wire: streams and batches, offsets, and what a compressed stream may not do to us."""

import os
import threading

import grpc
import pytest
import zstandard
from harness.serving import entry, message, refusal, staged, upload_name

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2 import WriteRequest

CODE = grpc.StatusCode
TEXT = b"".join(b"line %d of a log\n" % number for number in range(200_000))
NOISE = os.urandom(2_500_000)
ZSTD = reapi.Compressor.ZSTD


def packed(data, *, level=3, **options):
    return zstandard.ZstdCompressor(level=level, **options).compress(data)


def plain(data):
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        return reader.read()


def name(digest):
    return upload_name(digest, instance="main/").replace("/blobs/", "/compressed-blobs/zstd/")


def read(peer, digest, **options):
    return peer.read(f"main/compressed-blobs/zstd/{digest}", **options)


def write(peer, digest, data, *, step=300_000):
    """The upload of compressed ``data`` in pieces; what the server says it took."""
    offsets = list(range(0, len(data), step)) or [0]
    return peer.write(
        *(
            WriteRequest(
                resource_name=name(digest) if offset == 0 else "",
                write_offset=offset,
                data=data[offset : offset + step],
                finish_write=offset == offsets[-1],
            )
            for offset in offsets
        )
    )


def test_the_server_says_that_it_speaks_zstd(peer, reader):
    for asked in (peer, reader):
        answer = asked.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest())
        assert list(answer.cache_capabilities.supported_compressors) == [ZSTD]
        assert list(answer.cache_capabilities.supported_batch_update_compressors) == [ZSTD]
        assert (answer.low_api_version.major, answer.low_api_version.minor) == (2, 0)
        assert answer.high_api_version.minor >= 1


@pytest.mark.parametrize("data", [TEXT, NOISE, b"", b"x"], ids=["text", "noise", "empty", "a byte"])
def test_a_blob_goes_in_and_out_compressed_and_is_stored_as_it_is(peer, services, data):
    digest = Digest.of(data)
    sent = packed(data)
    committed = write(peer, digest, sent)
    assert committed == (-1 if data == b"" else len(sent))
    assert peer.read(f"blobs/{digest}") == data
    answer = read(peer, digest)
    assert plain(answer) == data
    if data is TEXT:
        assert len(answer) < len(TEXT) / 4
    if data:
        assert os.stat(services.layout.object(digest.hash)).st_size == len(data)


@pytest.mark.parametrize("offset", [0, 1, 1_000_000, len(TEXT) - 1, len(TEXT)])
def test_a_compressed_read_begins_at_an_offset_in_plain_bytes(peer, offset):
    digest = Digest.of(TEXT)
    write(peer, digest, packed(TEXT))
    assert plain(read(peer, digest, offset=offset)) == TEXT[offset:]


def test_a_compressed_read_has_no_limit_and_ends_with_the_blob(peer):
    (digest,) = peer.upload(b"0123456789")
    assert refusal(read, peer, digest, limit=4) is CODE.INVALID_ARGUMENT
    assert refusal(read, peer, digest, offset=11) is CODE.OUT_OF_RANGE
    assert refusal(read, peer, Digest.of(b"absent")) is CODE.NOT_FOUND
    assert plain(read(peer, EMPTY)) == b""


def test_frames_and_levels_of_any_kind_are_taken(peer):
    frames = packed(TEXT[:1000], level=19) + packed(b"") + packed(TEXT[1000:], level=1, write_checksum=True)
    assert write(peer, Digest.of(TEXT), frames, step=777) == len(frames)


def test_what_is_here_already_is_answered_before_its_data(peer):
    (digest,) = peer.upload(b"x" * 1000)
    answered = threading.Event()

    def never_ending():
        yield WriteRequest(resource_name=name(digest), data=b"\x28")
        answered.wait()

    assert peer.bytestream.Write(never_ending()).committed_size == -1
    answered.set()


def with_window(log):
    """The noise in a frame that wants so large a window."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return frame.compress(NOISE) + frame.flush()


def test_a_window_of_the_usual_size_is_taken(peer):
    assert write(peer, Digest.of(NOISE), with_window(23)) > 0


@pytest.mark.parametrize(
    "sent",
    {
        "no zstd": b"this is no frame at all",
        "cut short": packed(NOISE)[:-1000],
        "more behind it": packed(NOISE) + b"garbage",
        "a frame more": packed(NOISE) + packed(b"x"),
        "other bytes": packed(NOISE[::-1]),
        "nothing": b"",
        "a large window": with_window(27),
    }.items(),
    ids=lambda case: case[0],
)
def test_a_compressed_upload_of_anything_else_is_refused_and_leaves_nothing(peer, services, sent):
    digest = Digest.of(NOISE)
    assert refusal(write, peer, digest, sent[1]) is CODE.FAILED_PRECONDITION
    assert peer.missing(digest) == [digest]
    assert staged(services)[1] == []


def test_a_bomb_is_ended_at_the_size_that_its_digest_says(peer, services):
    bomb = packed(bytes(500_000_000))
    claimed = Digest(Digest.of(b"small").hash, 5_000_000)
    assert refusal(write, peer, claimed, bomb) is CODE.FAILED_PRECONDITION
    assert staged(services)[1] == []
    request = reapi.BatchUpdateBlobsRequest(
        requests=[entry(Digest(claimed.hash, 1000), bomb, compressor=ZSTD)]
    )
    assert peer.cas.BatchUpdateBlobs(request).responses[0].status.code == 9


# -- batches -------------------------------------------------------------------------------------------


def test_each_entry_of_a_batch_may_be_compressed_or_not(peer):
    digests = [Digest.of(TEXT[:1000]), Digest.of(TEXT[:2000]), Digest.of(b"forged"), Digest.of(b"no frame")]
    request = reapi.BatchUpdateBlobsRequest(
        requests=[
            entry(digests[0], packed(TEXT[:1000]), compressor=ZSTD),
            entry(digests[1], TEXT[:2000]),
            entry(digests[2], packed(b"forgEd"), compressor=ZSTD),
            entry(digests[3], b"no frame", compressor=ZSTD),
            entry(EMPTY, packed(b""), compressor=ZSTD),
        ]
    )
    answers = peer.cas.BatchUpdateBlobs(request).responses
    assert [answer.status.code for answer in answers] == [0, 0, 9, 9, 0]
    assert peer.missing(*digests) == digests[2:]


def test_a_batch_counts_what_its_entries_are_when_plain(peer):
    data = bytes(600_000)
    request = reapi.BatchUpdateBlobsRequest(
        requests=[entry(Digest.of(data), packed(data), compressor=ZSTD)] * 2
    )
    assert refusal(peer.cas.BatchUpdateBlobs, request) is CODE.INVALID_ARGUMENT


def test_a_batch_is_read_compressed_where_the_client_takes_that_and_it_is_shorter(peer):
    blobs = [TEXT[:10_000], NOISE[:10_000], b""]
    digests = peer.upload(*blobs)
    asked = {"digests": [*map(message, digests), message(Digest.of(b"absent"))]}
    for accepted, compressors in (([], [0, 0, 0, 0]), ([2], [0, 0, 0, 0]), ([0, ZSTD], [ZSTD, 0, 0, 0])):
        request = reapi.BatchReadBlobsRequest(**asked, acceptable_compressors=accepted)
        answers = peer.cas.BatchReadBlobs(request).responses
        assert [answer.compressor for answer in answers] == compressors
        assert [answer.status.code for answer in answers] == [0, 0, 0, 5]
        assert [plain(a.data) if a.compressor else a.data for a in answers[:3]] == blobs
