"""worker.remote as a BlobAccess: its promises, lying servers, and what a status means."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.remotes import ABSENT, LARGE, SMALL, Code

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    CaskeeperError,
    ConfigInvalid,
    DigestMismatch,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.protocols import CHUNK_BYTES


def test_what_is_written_in_a_batch_is_read_back_in_the_order_asked_for(server, blobs):
    contents = [b"one", b"two", b"three", b""]
    blobs.write_batch([(Digest.of(content), content) for content in contents])
    asked = [Digest.of(content) for content in reversed(contents)]
    assert blobs.read_batch(asked) == list(zip(asked, reversed(contents), strict=True))
    assert server.blobs[Digest.of(b"two").hash] == b"two"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(LARGE)])
def test_what_is_written_as_a_stream_is_read_back_as_one(server, blobs, size):
    content = LARGE[:size]
    digest = Digest.of(content)
    blobs.write_stream(digest, (content[n : n + 777_777] for n in range(0, size, 777_777)))
    assert server.blobs[digest.hash] == content
    assert b"".join(blobs.read_stream(digest)) == content


def test_a_chunk_of_any_size_travels_in_pieces_that_fit_a_message(server, blobs):
    content = LARGE * 2  # above the 4 MiB that a server takes in one message
    blobs.write_stream(Digest.of(content), [b"", content, b""])
    assert server.blobs[Digest.of(content).hash] == content


def test_missing_blobs_are_found_across_groups(blobs):
    absent = {Digest.of(b"%d" % n) for n in range(9000)}
    assert blobs.find_missing([*absent, Digest.of(SMALL)]) == absent


def test_an_old_server_is_asked_for_the_empty_blob_but_never_read_for_it(server, blobs):
    assert blobs.find_missing([EMPTY]) == {EMPTY}
    assert blobs.read_batch([EMPTY]) == [(EMPTY, b"")]
    assert list(blobs.read_stream(EMPTY)) == []
    assert server.count("Read") == server.count("BatchReadBlobs") == 0


def test_a_missing_blob_is_named_in_a_batch(blobs):
    with pytest.raises(BlobMissing, match=ABSENT.hash):
        blobs.read_batch([Digest.of(SMALL), ABSENT])


def test_a_missing_blob_is_named_in_a_stream(blobs):
    with pytest.raises(BlobMissing, match=ABSENT.hash):
        list(blobs.read_stream(ABSENT))


@pytest.mark.parametrize("content", [b"short", b"a longer one", b"A small blob"])
def test_bytes_that_are_not_their_digest_are_not_sent(server, blobs, content):
    digest = Digest.of(SMALL)
    server.blobs.clear()
    with pytest.raises(DigestMismatch):
        blobs.write_batch([(digest, content)])
    with pytest.raises(DigestMismatch):
        blobs.write_stream(digest, [content])
    assert not server.blobs
    assert not server.finished


def test_what_the_source_of_a_stream_raises_comes_out_unchanged(server, blobs):
    class SourceFailed(Exception):
        pass

    def source():
        yield LARGE[:CHUNK_BYTES]
        yield LARGE[CHUNK_BYTES : 2 * CHUNK_BYTES]
        raise SourceFailed

    server.blobs.clear()
    with pytest.raises(SourceFailed):
        blobs.write_stream(Digest.of(LARGE), source())
    assert not server.finished


# Lying servers.


def test_wrong_bytes_are_refused_before_the_last_piece(server, blobs):
    server.wrong_bytes = True
    received = []
    with pytest.raises(DigestMismatch):
        received.extend(blobs.read_stream(Digest.of(LARGE)))
    assert sum(map(len, received)) < len(LARGE)
    with pytest.raises(DigestMismatch):
        list(blobs.read_stream(Digest.of(SMALL)))
    with pytest.raises(DigestMismatch):
        blobs.read_batch([Digest.of(SMALL)])


def test_a_short_stream_is_refused(server, blobs):
    server.cut_bytes = 3
    with pytest.raises(DigestMismatch, match=str(len(LARGE) - 3)):
        list(blobs.read_stream(Digest.of(LARGE)))
    with pytest.raises(DigestMismatch):
        blobs.read_batch([Digest.of(SMALL)])


@pytest.mark.parametrize("extra", [1, 5 * CHUNK_BYTES])
def test_more_than_asked_is_refused(server, blobs, extra):
    server.extra_bytes = extra
    received = []
    with pytest.raises(DigestMismatch):
        received.extend(blobs.read_stream(Digest.of(LARGE)))
    assert sum(map(len, received)) < len(LARGE)
    with pytest.raises(DigestMismatch):
        blobs.read_batch([Digest.of(SMALL)])


def test_an_answer_larger_than_any_message_may_be_is_refused(server, blobs):
    server.extra_bytes = 17 * 1024 * 1024
    with pytest.raises(CaskeeperError) as refused:
        blobs.read_batch([Digest.of(SMALL)])
    assert isinstance(refused.value, (DigestMismatch, RemoteUnavailable))


def test_an_answer_about_other_blobs_is_refused(server, blobs):
    server.unasked_entry = True
    with pytest.raises(RemoteUnavailable):
        blobs.read_batch([Digest.of(SMALL)])
    with pytest.raises(RemoteUnavailable):
        blobs.find_missing([Digest.of(SMALL)])


def test_empty_pieces_are_no_end_of_a_stream(server, blobs):
    server.empty_pieces = 5
    assert b"".join(blobs.read_stream(Digest.of(LARGE))) == LARGE


def test_a_commit_of_another_size_is_no_success(server, blobs):
    server.commits_bytes = 5
    with pytest.raises(RemoteUnavailable, match="5 of"):
        blobs.write_stream(Digest.of(LARGE), [LARGE])


def test_what_a_remote_says_cannot_break_a_line_or_a_terminal(server, blobs):
    server.answers["FindMissingBlobs"] = Code.PERMISSION_DENIED
    with pytest.raises(PermissionDenied) as refused:
        blobs.find_missing([ABSENT])
    assert str(refused.value).isprintable()
    assert "refuses by" in str(refused.value)
    assert server.url in str(refused.value)


# For a copy from or to the store, which hashes.


def test_without_hashing_sizes_are_looked_at_all_the_same(server, blobs):
    server.wrong_bytes = True
    assert len(b"".join(blobs.unhashed().read_stream(Digest.of(LARGE)))) == len(LARGE)
    assert len(blobs.unhashed().read_batch([Digest.of(SMALL)])[0][1]) == len(SMALL)
    server.cut_bytes = 3
    with pytest.raises(DigestMismatch, match=str(len(LARGE) - 3)):
        list(blobs.unhashed().read_stream(Digest.of(LARGE)))
    with pytest.raises(DigestMismatch):
        blobs.unhashed().read_batch([Digest.of(SMALL)])


@pytest.mark.parametrize("content", [b"short", b"a much longer one"])
def test_without_hashing_nothing_of_another_size_is_sent(server, blobs, content):
    server.blobs.clear()
    with pytest.raises(DigestMismatch):
        blobs.unhashed().write_batch([(Digest.of(SMALL), content)])
    with pytest.raises(DigestMismatch):
        blobs.unhashed().write_stream(Digest.of(SMALL), [content])
    assert not server.finished


def test_what_is_written_without_hashing_arrives_as_it_is(server, blobs):
    server.blobs.clear()
    blobs.unhashed().write_stream(Digest.of(LARGE), [LARGE])
    blobs.unhashed().write_batch([(Digest.of(SMALL), SMALL)])
    assert set(server.blobs.values()) == {LARGE, SMALL}


# Statuses.


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.RESOURCE_EXHAUSTED, NoSpace),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.UNAUTHENTICATED, PermissionDenied),
        (Code.FAILED_PRECONDITION, DigestMismatch),
        (Code.UNKNOWN, RemoteUnavailable),
        (Code.NOT_FOUND, RemoteUnavailable),
        (Code.UNIMPLEMENTED, ConfigInvalid),
    ],
)
def test_a_refused_upload_says_why(server, blobs, code, error):
    blobs.find_missing([ABSENT])
    server.answers = {"Write": code, "BatchUpdateBlobs": code}
    with pytest.raises(error):
        blobs.write_stream(Digest.of(LARGE), [LARGE])
    with pytest.raises(error):
        blobs.write_batch([(Digest.of(SMALL), SMALL)])
    assert server.count("Write") == 1


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.FAILED_PRECONDITION])
def test_trouble_while_asking_is_never_a_miss_nor_a_full_disk(server, blobs, code):
    server.answers["FindMissingBlobs"] = code
    with pytest.raises(RemoteUnavailable):
        blobs.find_missing([ABSENT])


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.DATA_LOSS])
def test_trouble_while_reading_is_never_a_miss_nor_a_full_disk(server, blobs, code):
    blobs.find_missing([ABSENT])
    server.answers = {"Read": code, "BatchReadBlobs": code}
    with pytest.raises(RemoteUnavailable):
        list(blobs.read_stream(ABSENT))
    with pytest.raises(RemoteUnavailable):
        blobs.read_batch([ABSENT])


@pytest.mark.parametrize(
    ("code", "error"), [(8, RemoteUnavailable), (7, PermissionDenied), (3, CaskeeperError)]
)
def test_an_error_entry_of_a_read_says_why(server, blobs, code, error):
    server.entry_codes[Digest.of(SMALL).hash] = [code]
    with pytest.raises(error, match=Digest.of(SMALL).hash):
        blobs.read_batch([Digest.of(SMALL)])


@pytest.mark.parametrize(("code", "error"), [(8, NoSpace), (9, DigestMismatch), (13, RemoteUnavailable)])
def test_an_error_entry_of_an_upload_says_why_and_the_others_arrive(server, blobs, code, error):
    server.blobs.clear()
    server.entry_codes[Digest.of(b"two").hash] = [code] * 20
    with pytest.raises(error, match=Digest.of(b"two").hash):
        blobs.write_batch([(Digest.of(content), content) for content in (b"one", b"two", b"three")])
    assert set(server.blobs.values()) == {b"one", b"three"}


def test_only_entries_that_failed_for_a_moment_are_sent_again(server, blobs):
    server.entry_codes[Digest.of(b"two").hash] = [14]
    blobs.write_batch([(Digest.of(content), content) for content in (b"one", b"two", b"three")])
    sent = [[entry.data for entry in r.requests] for name, r in server.calls if name == "BatchUpdateBlobs"]
    assert sent == [[], [b"one", b"two", b"three"], [b"two"]]


def test_an_entry_that_failed_for_a_moment_is_read_again(server, blobs):
    server.entry_codes[Digest.of(SMALL).hash] = [14]
    assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


def test_threads_share_one_remote_and_one_negotiation(server, blobs):
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda _n: b"".join(blobs.read_stream(Digest.of(LARGE))), range(8)))
    assert read == [LARGE] * 8
    assert server.count("GetCapabilities") == 1
