"""The journal of what a server took in."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.volumes import Account, begin, blobs_of, fence, new_volume

from caskeeper.digest import Digest
from caskeeper.errors import CacheTooFull, LeaseLost, VolumeFailed
from worker.store.journal import Journal, ended_journals
from worker.store.measure import used_bytes

OPERATION = "serve-" + "0a" * 16


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


def begun(volume, account=None):
    """An operation whose journal is kept."""
    staging = begin(volume, OPERATION, account=account)
    staging.announce = Journal(staging).note
    return staging


def noted(volume):
    return [record for file in ended_journals(volume) for record in file.records()]


def test_a_journal_holds_everything_that_was_noted_by_any_thread_once_its_operation_has_ended(volume):
    account = Account()
    staging = begin(volume, OPERATION, account=account)
    journal = Journal(staging)
    before = used_bytes(volume)
    digests = [Digest.of(b"%d" % number) for number in range(1000)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(journal.note, [digests[start : start + 7] for start in range(0, 1000, 7)]))
    assert noted(volume) == []  # it may still grow
    journal.close()
    staging.end()
    assert set(noted(volume)) == {(bytes.fromhex(digest.hash), digest.size_bytes) for digest in digests}
    assert len(noted(volume)) == 1000
    assert staging.added_bytes == account.spent == used_bytes(volume) - before


def test_what_is_noted_together_may_be_more_than_a_file_of_the_journal_holds(volume):
    staging = begun(volume)
    digests = [Digest.of(b"%d" % number) for number in range(1000)]
    staging.announce(digests)
    staging.announce([])
    staging.announce(digests[:1])
    staging.end()
    assert [raw.hex() for raw, _ in noted(volume)] == [digest.hash for digest in (*digests, digests[0])]


def test_every_way_to_publish_an_object_is_noted_first_and_an_executable_is_not(volume):
    staging = begun(volume)
    blobs = blobs_of(staging)
    blobs.write_batch([(Digest.of(b"batch"), b"batch")])
    blobs.write_stream(Digest.of(b"stream"), [b"str", b"eam"])
    blobs.add_stream(5, [b"added"])
    arriving = blobs.receive(Digest.of(b"arriving"))
    arriving.write(b"arriving")
    blobs.complete(arriving)
    blobs.executable(blobs.add(b"program"))
    blobs.add(b"batch")
    staging.end()
    contents = [b"batch", b"stream", b"added", b"arriving", b"program"]
    assert [raw.hex() for raw, _ in noted(volume)] == [Digest.of(data).hash for data in contents]


def test_a_journal_does_not_grow_after_the_fence_and_what_it_could_not_note_is_not_published(volume):
    blobs = blobs_of(begun(volume))
    blobs.add(b"before")
    fence(volume, OPERATION)
    used = used_bytes(volume)
    for number in range(200):
        with pytest.raises(LeaseLost):
            blobs.add(b"after %d" % number)
    assert used_bytes(volume) == used
    assert noted(volume)[0][0].hex() == Digest.of(b"before").hash


@pytest.mark.parametrize("blocks", [0, 1])
def test_what_no_room_is_left_for_is_refused_and_leaves_nothing(volume, blocks):
    account = Account(limit_bytes=blocks * volume.block_bytes)
    staging = begun(volume, account)
    for _ in range(3):
        with pytest.raises(CacheTooFull):
            blobs_of(staging).add(b"a block for the journal, and one for this")
    assert os.listdir(staging.folder) == ["start"]
    assert account.spent == staging.added_bytes == blocks * volume.block_bytes


def test_i5_a_journal_that_a_fence_takes_before_it_has_its_name_is_not_refunded(volume, account, monkeypatch):
    staging = begin(volume, OPERATION, account=account)

    def fenced(*_arguments):
        fence(volume, OPERATION)
        raise LeaseLost("taken away")

    monkeypatch.setattr(volume, "publish", fenced)
    with pytest.raises(LeaseLost):
        Journal(staging).note([Digest.of(b"one")])
    assert account.spent >= volume.block_bytes


def test_what_is_no_journal_is_left_alone_and_one_that_cannot_be_read_stops_the_reader(volume):
    folder = volume.layout.staging
    for name in ("uploads-", "uploads-x", f"uploads-{OPERATION}", f"uploads-{OPERATION}.x", "uploads-a.0"):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(b"x" * 80)
    os.symlink("/etc/passwd", f"{folder}/uploads-{OPERATION}.0")
    os.mkdir(f"{folder}/uploads-{OPERATION}.1")
    assert ended_journals(volume) == []
    os.rmdir(f"{folder}/uploads-{OPERATION}.1")
    with open(f"{folder}/uploads-{OPERATION}.1", "wb") as file:
        file.write(b"cut short")
    assert noted(volume) == []
    (journal,) = ended_journals(volume)
    os.unlink(journal.path)
    assert list(journal.records()) == []
    os.mkdir(journal.path)
    with pytest.raises(VolumeFailed):
        list(journal.records())
