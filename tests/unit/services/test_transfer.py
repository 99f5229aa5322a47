from __future__ import annotations

import threading
import time

import pytest
from harness.memory_blobs import MemoryBlobs

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, Cancelled, DigestMismatch, NoSpace, RemoteUnavailable
from worker import errand
from worker.protocols import Context, quiet
from worker.services import transfer
from worker.services.meter import Meter
from worker.services.watched import Watched


def carry(source, sink, digests, *, context=None, ordered=False):
    context = context or quiet()
    meter = Meter(context, "test")
    transfer.copy(source, sink, digests, context=context, meter=meter, ordered=ordered)
    return meter


def test_everything_asked_for_arrives_small_and_large():
    source, sink = MemoryBlobs(), MemoryBlobs()
    digests = [source.add(b"%d" % number * (number % 50 + 1)) for number in range(3000)]
    digests.append(source.add(b"L" * 5_000_000))
    meter = carry(source, sink, digests)
    assert sink.data == source.data
    assert meter.done == [len(digests), sum(digest.size_bytes for digest in digests)]


def test_a_batch_keeps_within_the_limit_of_the_narrower_side():
    source, sink = MemoryBlobs(), MemoryBlobs(batch_limit_bytes=10_000)
    digests = [source.add(b"%04d" % number * 100) for number in range(200)]
    carry(source, sink, digests)
    assert len(sink.data) == 200
    batches = [asked for verb, asked in sink.calls if verb == "write_batch"]
    for asked in batches:
        assert sum(digest.size_bytes + transfer.ENTRY_BYTES for digest in asked) <= 10_000
    assert len(batches) > 1


def test_tiny_blobs_are_weighed_with_what_a_message_adds_to_each():
    digests = [Digest(f"{number:064x}", 1) for number in range(20_000)]
    jobs = transfer.split(digests, limit_bytes=4 << 20)
    assert [digest for job in jobs for digest in job.digests] == digests
    assert max(len(job.digests) for job in jobs) * transfer.ENTRY_BYTES <= transfer.BATCH_BYTES


def test_a_side_without_batches_gets_streams_only():
    source, sink = MemoryBlobs(), MemoryBlobs(batch_limit_bytes=0)
    digests = [source.add(content) for content in (b"a", b"bb", b"ccc")]
    carry(source, sink, digests)
    assert {verb for verb, _asked in sink.calls} == {"write_stream"}
    assert len(sink.data) == 3


def test_an_ordered_copy_arrives_in_the_order_given():
    source, sink = MemoryBlobs(), MemoryBlobs(batch_limit_bytes=3000)
    digests = [source.add(b"x" * (1 + number * 37 % 4000)) for number in range(100)]
    carry(source, sink, digests, ordered=True)
    assert sink.arrived == digests


def test_a_blob_the_source_lacks_is_a_miss_that_names_it():
    source, sink = MemoryBlobs(b"here"), MemoryBlobs()
    absent = Digest.of(b"absent")
    with pytest.raises(BlobMissing, match=absent.hash):
        carry(source, sink, [Digest.of(b"here"), absent])


def test_a_source_that_leaves_one_out_of_a_batch_is_a_miss_too():
    class Forgetful(MemoryBlobs):
        def read_batch(self, digests):
            return super().read_batch(digests)[:-1]

    source, sink = Forgetful(b"one", b"two"), MemoryBlobs()
    with pytest.raises(BlobMissing, match=Digest.of(b"two").hash):
        carry(source, sink, [Digest.of(b"one"), Digest.of(b"two")])


def test_the_cause_of_a_failed_stream_wins_over_what_the_sink_makes_of_it():
    class Wrapping(MemoryBlobs):
        def write_stream(self, digest, chunks):
            try:
                super().write_stream(digest, chunks)
            except BlobMissing:
                raise RemoteUnavailable("the call broke off") from None

    source, sink = MemoryBlobs(), Wrapping()
    sink.limit = 0
    with pytest.raises(BlobMissing):
        carry(source, sink, [Digest.of(b"never stored")])


def test_one_failure_ends_the_whole_copy_and_no_thread_outlives_it():
    source, sink = MemoryBlobs(), MemoryBlobs()
    digests = [source.add(b"%d" % number * 300_000) for number in range(40)]
    sink.fail["write_batch"] = NoSpace("full")
    with pytest.raises(NoSpace):
        carry(source, sink, digests)
    after = len(sink.calls)
    assert after < len(digests)
    assert len(sink.calls) == after


def test_a_copy_stops_when_its_context_says_so():
    asked = threading.Event()

    def refuse():
        asked.set()
        raise Cancelled("enough")

    class Slow(MemoryBlobs):
        def write_stream(self, digest, chunks):
            asked.wait(30)
            time.sleep(0.05)
            super().write_stream(digest, chunks)

    source, sink = MemoryBlobs(), Slow()
    digests = [source.add(b"%d" % number * 1_500_000) for number in range(40)]
    with pytest.raises(Cancelled, match="enough"):
        carry(source, sink, digests, context=Context(progress=lambda _progress: None, check=refuse))
    assert len(sink.data) < len(digests)


def test_progress_counts_bytes_and_never_runs_back():
    seen = []
    context = Context(progress=seen.append, check=lambda: None)
    source, sink = MemoryBlobs(), MemoryBlobs()
    digests = [source.add(b"%d" % number * 100_000) for number in range(1, 30)]
    present = sink.add(b"there already")
    meter = Meter(context, "pull")
    missing = transfer.find_missing(sink, [*digests, present], context)
    meter.expect([*digests, present], missing)
    transfer.copy(source, sink, missing, context=context, meter=meter)
    last = seen[-1]
    assert (last.done_bytes, last.total_bytes) == (sum(d.size_bytes for d in digests),) * 2
    assert (last.done_objects, last.total_objects) == (len(digests),) * 2
    assert (last.present_objects, last.present_bytes) == (1, present.size_bytes)
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)


def test_missing_blobs_are_asked_for_in_groups_and_each_once():
    blobs = MemoryBlobs(b"present")
    digests = [Digest(f"{number:064x}", 1) for number in range(10_000)]
    asked = [*digests, Digest.of(b"present"), *digests]
    assert transfer.find_missing(blobs, asked, quiet()) == digests
    groups = [group for verb, group in blobs.calls if verb == "find_missing"]
    assert [len(group) for group in groups] == [4096, 4096, 10_001 - 2 * 4096]


def test_a_sink_may_repeat_a_stream_and_progress_counts_it_once():
    class Repeating(MemoryBlobs):
        def write_stream(self, digest, chunks):
            next(iter(chunks))
            super().write_stream(digest, chunks)

    source, sink = MemoryBlobs(), Repeating(batch_limit_bytes=0)
    digest = source.add(b"z" * 3_000_000)
    meter = carry(source, Watched(sink), [digest])
    assert sink.data == source.data
    assert meter.done == [1, 3_000_000]


def test_a_sink_that_had_the_blob_by_now_may_stop_listening():
    class Sated(MemoryBlobs):
        def write_stream(self, digest, chunks):
            next(iter(chunks))

    source = MemoryBlobs()
    digest = source.add(b"z" * 3_000_000)
    meter = carry(source, Sated(batch_limit_bytes=0), [digest])
    assert meter.done == [1, 3_000_000]


def test_the_watched_side_knows_its_own_failures_from_the_other_sides():
    lying = MemoryBlobs()
    lying.data[Digest.of(b"true").hash] = b"lies"
    watched = Watched(lying)
    with pytest.raises(DigestMismatch) as caught:
        carry(watched, MemoryBlobs(), [Digest.of(b"true")])
    assert watched.caused(caught.value)

    full = MemoryBlobs()
    full.fail["write_batch"] = NoSpace("full")
    watched = Watched(MemoryBlobs(b"good"))
    with pytest.raises(NoSpace) as other:
        carry(watched, full, [Digest.of(b"good")])
    assert not watched.caused(other.value)


def test_a_watched_sink_is_not_blamed_for_the_stream_that_it_was_fed():
    watched = Watched(MemoryBlobs(batch_limit_bytes=0))
    with pytest.raises(BlobMissing) as caught:
        carry(MemoryBlobs(), watched, [Digest.of(b"gone")])
    assert not watched.caused(caught.value)
    sink = MemoryBlobs(batch_limit_bytes=0)
    sink.fail["write_stream"] = RemoteUnavailable("away")
    watched = Watched(sink)
    with pytest.raises(RemoteUnavailable) as away:
        carry(MemoryBlobs(b"good"), watched, [Digest.of(b"good")])
    assert watched.caused(away.value)


def test_bytes_that_are_not_what_their_digest_says_are_refused():
    source = MemoryBlobs()
    source.data[Digest.of(b"true").hash] = b"lies"
    with pytest.raises(DigestMismatch):
        carry(source, MemoryBlobs(), [Digest.of(b"true")])


def test_what_a_group_lacks_is_told_while_the_next_one_is_asked_about(monkeypatch):
    monkeypatch.setattr(transfer, "FIND_GROUP", 10)
    blobs = MemoryBlobs()
    digests = [Digest(f"{number:064x}", 1) for number in range(35)]
    next_asked, told = threading.Event(), []

    class Remote:
        def find_missing(self, group):
            if digests[10] in group:
                next_asked.set()
            return blobs.find_missing(group) - {digests[3]}

    def look(found):
        assert next_asked.wait(10)
        told.append(found)

    missing = transfer.find_missing_ahead(Remote(), digests, quiet(), look)
    assert missing == [digest for digest in digests if digest != digests[3]]
    assert [len(group) for group in told] == [9, 10, 10, 5]


def test_a_push_that_lacks_something_itself_does_not_wait_for_the_question_under_way(monkeypatch):
    monkeypatch.setattr(transfer, "FIND_GROUP", 10)
    digests = [Digest(f"{number:064x}", 1) for number in range(20)]

    class Remote:
        def find_missing(self, group):
            if digests[0] in group:
                return set(group)
            ended = threading.Event()
            with errand.under_way(ended.set):
                assert ended.wait(10)
            raise Cancelled("ended")

    def look(found):
        raise BlobMissing("gone", str(found[0]))

    with pytest.raises(BlobMissing, match=digests[0].hash):
        transfer.find_missing_ahead(Remote(), digests, quiet(), look)
