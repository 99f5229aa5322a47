"""worker.remote and time: attempts, resumption, deadlines, silence, remotes that are dead."""

from __future__ import annotations

import threading
import uuid

import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.remotes import ABSENT, HURRY, LARGE, SMALL, Code

from caskeeper.config.remotes import RemoteSpec
from caskeeper.digest import Digest
from caskeeper.errors import (
    ConfigInvalid,
    DeadlineExceeded,
    DigestMismatch,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.protocols import CHUNK_BYTES
from worker.remote import Patience, RemotePool


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL, Code.ABORTED, Code.DEADLINE_EXCEEDED])
def test_a_call_that_fails_for_a_moment_is_made_again(server, blobs, code):
    server.answers["FindMissingBlobs"] = code
    server.times["FindMissingBlobs"] = 2
    assert blobs.find_missing([ABSENT]) == {ABSENT}
    assert server.count("FindMissingBlobs") == 3


def test_the_number_of_attempts_is_bounded(server, blobs):
    server.answers["FindMissingBlobs"] = Code.UNAVAILABLE
    with pytest.raises(RemoteUnavailable):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") == HURRY.attempts


def test_a_permanent_refusal_is_not_asked_for_twice(server, blobs):
    server.answers["FindMissingBlobs"] = Code.PERMISSION_DENIED
    with pytest.raises(PermissionDenied):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") == 1


def test_what_a_server_asks_to_wait_is_honoured_up_to_a_limit():
    waits = [Patience().delay_s(1, asked_s=asked_s) for asked_s in (0.0, 2.0, 3600.0)]
    assert waits[0] <= Patience().first_delay_s
    assert waits[1:] == [2.0, Patience().longest_delay_s]


def test_retry_info_is_read_from_a_real_answer(server, opened):
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=3600)))
    asked = status_pb2.Status(code=14, details=[detail]).SerializeToString()
    server.trailer = (("grpc-status-details-bin", asked),)
    server.answers["FindMissingBlobs"] = Code.UNAVAILABLE
    # The wait it asks for is longer than the whole call may take: there is no second attempt.
    blobs = opened(server.url, HURRY._replace(call_s=2.0, longest_delay_s=3600.0)).blobs
    with pytest.raises(RemoteUnavailable):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") == 1


def test_a_broken_stream_is_resumed_behind_the_last_byte(server, blobs):
    server.breaks = [300_000, 1_000_000, 0]
    assert b"".join(blobs.read_stream(Digest.of(LARGE))) == LARGE
    offsets = [request.read_offset for name, request in server.calls if name == "Read"]
    assert offsets == [0, 300_000, 1_300_000, 1_300_000]


def test_the_number_of_resumptions_is_bounded(server, blobs):
    server.breaks = [10] * 100
    with pytest.raises(RemoteUnavailable):
        list(blobs.read_stream(Digest.of(LARGE)))
    assert server.count("Read") == HURRY.attempts


def test_a_resumed_stream_is_verified_as_a_whole(server, blobs):
    server.breaks = [1_000_000]
    pieces = blobs.read_stream(Digest.of(LARGE))
    next(pieces)
    server.blobs[Digest.of(LARGE).hash] = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    with pytest.raises(DigestMismatch):
        list(pieces)


def test_an_upload_that_can_be_repeated_is_repeated_under_a_new_name(server, blobs):
    server.answers["Write"] = Code.UNAVAILABLE
    server.times["Write"] = 1
    server.blobs.clear()
    blobs.write_stream(Digest.of(LARGE), [LARGE])
    assert server.blobs[Digest.of(LARGE).hash] == LARGE
    assert server.count("Write") == 2


def test_an_upload_from_an_iterator_is_not_sent_in_half(server, blobs):
    server.answers["Write"] = Code.UNAVAILABLE
    server.times["Write"] = 1
    server.blobs.clear()
    with pytest.raises(RemoteUnavailable):
        blobs.write_stream(Digest.of(LARGE), iter([LARGE]))
    assert not server.blobs


def test_every_upload_has_a_fresh_uuid_of_version_4(server, blobs):
    for _ in range(3):
        blobs.write_stream(Digest.of(SMALL), [SMALL])
    names = [request.resource_name for name, request in server.calls if name == "Write"]
    ids = [name.split("/")[1] for name in names]
    assert len(set(ids)) == 3
    assert all(str(uuid.UUID(text, version=4)) == text for text in ids)
    assert all(name.startswith("uploads/") for name in names)


def test_a_server_that_has_the_blob_may_say_so_early_and_is_sent_no_more(server, blobs):
    server.commits_early = True
    claimed = Digest("a" * 64, 1024 * CHUNK_BYTES)
    # Sent to its end it would be found to be no such blob.
    blobs.write_stream(claimed, (LARGE[:CHUNK_BYTES] for _ in range(1024)))
    assert not server.finished


# Time.


def test_a_stream_that_falls_silent_ends_and_is_not_waited_for_again(server, opened):
    server.stalls_after = 1_000_000
    blobs = opened(server.url, HURRY._replace(silence_s=0.5)).blobs
    with pytest.raises(DeadlineExceeded, match="nothing came"):
        list(blobs.read_stream(Digest.of(LARGE)))
    assert server.count("Read") == 1


def test_a_slow_reader_is_not_taken_for_a_silent_server(server, opened):
    blobs = opened(server.url, HURRY._replace(silence_s=1.0)).blobs
    pieces = blobs.read_stream(Digest.of(LARGE))
    received = [next(pieces)]
    server.over.wait(2.5)
    received.extend(pieces)
    assert b"".join(received) == LARGE


def test_a_slow_stream_that_moves_is_not_ended(server, opened):
    server.drips = True
    blobs = opened(server.url, HURRY._replace(silence_s=1.0)).blobs
    faster = threading.Timer(2.5, setattr, (server, "drips", False))
    faster.start()
    received = list(blobs.read_stream(Digest.of(LARGE)))
    faster.join()
    assert b"".join(received) == LARGE
    assert len(received[0]) == 1, "it dripped, for longer than a silence may last"


def test_an_upload_nobody_takes_ends(server, opened):
    server.stalls_after = 0
    blobs = opened(server.url, HURRY._replace(silence_s=0.5)).blobs
    content = LARGE * 8
    with pytest.raises(DeadlineExceeded, match="nothing was taken"):
        blobs.write_stream(Digest.of(content), [content])
    assert server.write_ended.wait(5.0)


def test_an_upload_without_an_answer_ends(server, opened):
    server.stalls_after = 0
    blobs = opened(server.url, HURRY._replace(call_s=0.5)).blobs
    with pytest.raises(DeadlineExceeded):
        blobs.write_stream(Digest.of(SMALL), [SMALL])


@pytest.mark.parametrize("method", ["FindMissingBlobs", "GetCapabilities", "Status"])
def test_a_call_that_hangs_ends_at_its_deadline(server, opened, method):
    server.hangs.add(method)
    remote = opened(server.url, HURRY._replace(call_s=0.5, probe_s=1.0))
    with pytest.raises(DeadlineExceeded):
        remote.blobs.find_missing([ABSENT])


def test_a_stream_dropped_halfway_ends_its_call(server, blobs):
    pieces = blobs.read_stream(Digest.of(LARGE))
    next(pieces)
    pieces.close()
    assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


# Dead remotes.


def test_a_refused_connection_is_remembered(opened):
    with nobody_listening() as url:
        remote = opened(url)
        with pytest.raises(RemoteUnavailable, match=url) as first:
            remote.blobs.find_missing([ABSENT])
        with pytest.raises(RemoteUnavailable, match="not asked again") as second:
            remote.index.resolve(None)
        assert first.value.what in second.value.what


def test_a_silent_remote_costs_one_deadline(opened):
    with black_hole() as url:
        remote = opened(url, HURRY._replace(probe_s=0.5))
        with pytest.raises((DeadlineExceeded, RemoteUnavailable)):
            remote.blobs.find_missing([ABSENT])
        with pytest.raises((DeadlineExceeded, RemoteUnavailable), match="not asked again"):
            list(remote.blobs.read_stream(ABSENT))


def test_a_remote_that_came_back_is_used_again(opened):
    with LyingServer(SMALL) as server:
        server.answers["GetCapabilities"] = Code.UNAVAILABLE
        server.times["GetCapabilities"] = 2
        blobs = opened(server.url, HURRY._replace(memory_s=0.0)).blobs
        with pytest.raises(RemoteUnavailable):
            blobs.read_batch([Digest.of(SMALL)])
        assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


def test_a_pool_keeps_one_remote_for_each_spec(server):
    pool = RemotePool(HURRY)
    plain = RemoteSpec(server.url)
    assert pool.get(plain) is pool.get(RemoteSpec(server.url))
    assert pool.get(plain) is not pool.get(RemoteSpec(server.url, push=True))
    assert pool.get(plain).blobs.find_missing([ABSENT]) == {ABSENT}
    remote = pool.get(plain)
    pool.close()
    with pytest.raises(RemoteUnavailable, match="closed"):
        remote.blobs.find_missing([ABSENT])


def test_tls_to_a_server_without_it_is_a_configuration_to_correct(server, opened):
    with pytest.raises(ConfigInvalid, match="does not speak TLS at this port"):
        opened(server.url.replace("http:", "https:")).blobs.find_missing([ABSENT])
