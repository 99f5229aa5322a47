"""Several storages as one: read from whom has it, written to each, trouble never taken for a miss."""

import pytest
from harness.memory_blobs import MemoryBlobs

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, NoSpace, PermissionDenied, RemoteUnavailable
from worker.remote.shared_blobs import SharedBlobs, SharedUploads

A, B, C = b"a blob", b"another blob", b"a third"
NOWHERE = Digest.of(b"nowhere")
URL = "http://index"


def shared(*readers):
    return SharedBlobs(readers, url=URL)


def uploads(*writers):
    return SharedUploads(writers, lambda: writers, url=URL)


def verbs(blobs):
    return [verb for verb, _digests in blobs.calls]


def test_a_batch_comes_whole_from_the_first_that_has_all_of_it():
    first, second = MemoryBlobs(A, B), MemoryBlobs(A, B)
    wanted = [Digest.of(B), Digest.of(A)]
    assert shared(first, second).read_batch(wanted) == [(Digest.of(B), B), (Digest.of(A), A)]
    assert second.calls == []


def test_a_batch_is_put_together_where_nobody_has_all_of_it():
    first, second, third = MemoryBlobs(A), MemoryBlobs(B), MemoryBlobs(A, B, C)
    wanted = [Digest.of(content) for content in (C, B, A)]
    assert dict(shared(first, second, third).read_batch(wanted)) == {Digest.of(one): one for one in (A, B, C)}
    assert third.calls == [("read_batch", (Digest.of(C),))]


@pytest.mark.parametrize("verb", ["read_batch", "read_stream"])
def test_what_nobody_has_is_missing(verb):
    blobs = shared(MemoryBlobs(A), MemoryBlobs(B))
    with pytest.raises(BlobMissing):
        read(blobs, verb, NOWHERE)


def read(blobs, verb, digest):
    if verb == "read_stream":
        return b"".join(blobs.read_stream(digest))
    return blobs.read_batch([digest])[0][1]


@pytest.mark.parametrize("verb", ["read_batch", "read_stream"])
def test_a_storage_in_trouble_is_passed_over(verb):
    dead = MemoryBlobs(A)
    dead.fail = dict.fromkeys(["read_batch", "read_stream", "find_missing"], RemoteUnavailable("dead", "x"))
    assert read(shared(dead, MemoryBlobs(A)), verb, Digest.of(A)) == A


@pytest.mark.parametrize("verb", ["read_batch", "read_stream"])
@pytest.mark.parametrize("dead_first", [True, False])
def test_a_storage_in_trouble_might_have_had_what_the_others_lack(verb, dead_first):
    """I10."""
    dead = MemoryBlobs()
    dead.fail = dict.fromkeys(["read_batch", "read_stream", "find_missing"], RemoteUnavailable("dead", "x"))
    both = (dead, MemoryBlobs(A)) if dead_first else (MemoryBlobs(A), dead)
    with pytest.raises(RemoteUnavailable):
        read(shared(*both), verb, NOWHERE)


def test_an_empty_stream_is_not_asked_for_twice():
    first, second = MemoryBlobs(b""), MemoryBlobs(b"")
    assert read(shared(first, second), "read_stream", Digest.of(b"")) == b""
    assert second.calls == []


def test_batches_are_as_large_as_all_take_that_answer():
    class Dead(MemoryBlobs):
        @property
        def batch_limit_bytes(self):
            raise RemoteUnavailable("dead", "x")

    small, large = MemoryBlobs(batch_limit_bytes=1000), MemoryBlobs(batch_limit_bytes=5000)
    assert shared(large, small, Dead()).batch_limit_bytes == 1000
    with pytest.raises(RemoteUnavailable):
        shared(Dead(), Dead()).batch_limit_bytes  # noqa: B018 -- the property asks


def test_missing_for_an_upload_is_what_anybody_lacks():
    first, second = MemoryBlobs(A), MemoryBlobs(A, B)
    wanted = [Digest.of(content) for content in (A, B, C)]
    assert uploads(first, second).find_missing(wanted) == set(map(Digest.of, (B, C)))


def test_missing_for_a_reader_is_what_nobody_has():
    wanted = [Digest.of(content) for content in (A, B, C)]
    assert shared(MemoryBlobs(A), MemoryBlobs(B)).find_missing(wanted) == {Digest.of(C)}


def test_every_writer_gets_what_it_lacks_and_no_more():
    first, second = MemoryBlobs(A), MemoryBlobs()
    blobs = uploads(first, second)
    blobs.write_batch([(Digest.of(A), A), (Digest.of(B), B)])
    blobs.write_stream(Digest.of(C), iter([C]))
    assert first.arrived == [Digest.of(B), Digest.of(C)]
    assert second.arrived == [Digest.of(A), Digest.of(B), Digest.of(C)]
    blobs.write_stream(Digest.of(C), [C])
    assert verbs(second).count("write_stream") == 1


def test_a_writer_that_fails_fails_the_whole():
    first, second = MemoryBlobs(), MemoryBlobs()
    second.fail["write_batch"] = NoSpace("full", "x")
    with pytest.raises(NoSpace):
        uploads(first, second).write_batch([(Digest.of(A), A)])


@pytest.mark.parametrize("nowhere", [shared(MemoryBlobs()), uploads()])
def test_nothing_is_written_without_a_writer(nowhere):
    for write in (lambda: nowhere.write_batch([(Digest.of(A), A)]), lambda: nowhere.write_stream(A, [A])):
        with pytest.raises(PermissionDenied, match="none of its storage servers"):
            write()
