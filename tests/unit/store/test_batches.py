"""Batches and looks are divided between two processes, and nobody can tell by what comes of it."""

import os
import threading

import pytest
from harness.companions import Till, companion_of, force, kill, pid_of
from harness.volumes import begin, blobs_of, fence, new_volume

from caskeeper.digest import Digest
from caskeeper.errors import CacheTooFull, DigestMismatch, LeaseLost, NoSpace
from worker.store import blobs as module
from worker.store.blobs import MISSING, TROUBLE, YOUNG, StoreBlobs
from worker.store.companion import batches
from worker.store.companion.batches import Batches
from worker.store.companion.session import Session
from worker.store.damage import ObjectDamaged
from worker.store.objects import Objects

DATA = [b"blob %d" % number for number in range(100)]
BATCH = [(Digest.of(data), data) for data in DATA]
DIGESTS = [digest for digest, _data in BATCH]


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def companion(volume, monkeypatch):
    force(monkeypatch)
    monkeypatch.setattr(module, "_DIVIDED", 2)
    with_one = companion_of(volume)
    yield with_one
    with_one.close()


class Divided:
    """An operation whose batches a companion shares."""

    def __init__(self, volume, companion, name="op"):
        self.account = Till()
        self.staging = begin(volume, name, self.account)
        self.blobs = blobs_of(self.staging)
        self.batches = self.staging.batches = Batches(companion, self.blobs)
        self.told = []
        self.staging.announce = self.told.extend

    def write_aside(self, batch, blobs=None):
        """As it is when the turn is another one's."""
        turn = self.staging.volume.turn
        with turn.taken(1, 0):
            (blobs or self.blobs).write_batch(batch)

    def end(self):
        self.batches.close()
        return self.staging.end()


@pytest.fixture
def divided(volume, companion):
    operation = Divided(volume, companion)
    assert operation.batches.begin()
    yield operation
    operation.end()


def content(volume, digest):
    with open(volume.layout.object(digest.hash), "rb") as file:
        return file.read()


def test_a_batch_that_goes_aside_is_stored_counted_and_announced(volume, divided, helped):
    divided.write_aside(BATCH)
    assert helped == [b""]
    assert [content(volume, digest) for digest in DIGESTS] == DATA
    assert sorted(divided.told) == sorted(DIGESTS)
    assert divided.staging.added_bytes == len(BATCH) * volume.charge(1)
    divided.batches.close()
    assert divided.account.spent == divided.staging.added_bytes, "the room that was left was given back"


def test_what_was_taken_away_in_between_is_looked_for_and_stored_again(volume, divided, helped):
    """As a server does with damage, whatever its age: nothing that is gone may be answered for."""
    divided.write_aside(BATCH)
    os.unlink(volume.layout.object(DIGESTS[3].hash))
    assert blobs_of(divided.staging).find_missing(DIGESTS) == {DIGESTS[3]}
    divided.write_aside(BATCH, blobs=blobs_of(divided.staging))
    assert len(helped) == 3
    assert [content(volume, digest) for digest in DIGESTS] == DATA


@pytest.mark.parametrize("runs", [False, True], ids=["not started", "at another's work"])
def test_what_cannot_go_aside_is_done_here_and_announced_once(volume, companion, helped, runs):
    busy = Divided(volume, companion, "busy")
    if runs:
        assert busy.batches.begin()
        assert volume.turn.claim(busy.batches)
    operation = Divided(volume, companion)
    operation.write_aside(BATCH)
    assert sorted(operation.told) == sorted(DIGESTS)
    if runs:
        volume.turn.free(busy.batches)
    operation.end()
    busy.end()
    assert helped == []
    assert [content(volume, digest) for digest in DIGESTS] == DATA


def test_what_is_there_is_not_refused_for_what_cannot_be_announced(volume, divided):
    divided.blobs.write_batch(BATCH)

    def refuse(_digests):
        raise NoSpace("not a block")

    divided.staging.announce = refuse
    divided.write_aside(BATCH, blobs=blobs_of(divided.staging))
    with pytest.raises(NoSpace):
        divided.write_aside([(Digest.of(b"new"), b"new")])


def test_without_room_for_its_folder_all_is_done_here(volume, companion, monkeypatch, helped):
    def refuse():
        raise NoSpace("not an inode")

    operation = Divided(volume, companion)
    operation.blobs.write_batch(BATCH[:50])
    monkeypatch.setattr(operation.staging, "place_apart", refuse)
    assert operation.blobs.find_missing(DIGESTS) == set(DIGESTS[50:])
    operation.write_aside(BATCH)
    operation.end()
    assert helped == []


def test_damage_that_is_met_aside_is_told_to_the_listener_of_the_call(volume, divided, helped):
    divided.blobs.write_batch(BATCH)
    path = volume.layout.object(DIGESTS[7].hash)
    os.chmod(path, 0o644)
    with open(path, "ab") as file:
        file.write(b"more")
    blobs, told = StoreBlobs(divided.staging, Objects(volume)), []
    blobs.objects.on_damage = told.append
    with pytest.raises(ObjectDamaged):
        divided.write_aside(BATCH, blobs=blobs)
    assert [trouble.digest for trouble in told] == [DIGESTS[7]]


def test_the_turn_here_is_taken_first(volume, divided, helped):
    divided.blobs.write_batch(BATCH)
    assert helped == []
    assert [content(volume, digest) for digest in DIGESTS] == DATA


def test_what_was_missed_is_written_and_what_is_there_is_made_young(volume, divided, helped):
    divided.blobs.write_batch(BATCH[:10])
    other = blobs_of(divided.staging)
    assert other.find_missing(DIGESTS) == set(DIGESTS[10:])
    divided.write_aside(BATCH, blobs=other)
    divided.write_aside(BATCH, blobs=blobs_of(divided.staging))
    assert len(helped) == 3
    assert [content(volume, digest) for digest in DIGESTS] == DATA
    assert divided.staging.added_bytes == len(BATCH) * volume.charge(1)


def test_a_look_is_divided_and_tells_the_same(volume, divided, helped):
    divided.blobs.write_batch(BATCH[::3])
    hurt, other = DIGESTS[3], DIGESTS[60]
    for digest in (hurt, other):
        path = volume.layout.object(digest.hash)
        os.chmod(path, 0o644)
        with open(path, "ab") as file:
            file.write(b"more")
    asked = [*DIGESTS, Digest(DIGESTS[0].hash, 99)]
    states = blobs_of(divided.staging).states(asked)
    assert helped, "a half was asked"
    expected = [YOUNG if number % 3 == 0 else MISSING for number in range(100)] + [TROUBLE]
    expected[3] = expected[60] = TROUBLE
    assert list(states) == expected
    with pytest.raises(ObjectDamaged):
        blobs_of(divided.staging).find_missing(DIGESTS)


def test_what_the_other_process_made_young_is_not_looked_at_again(divided, monkeypatch):
    divided.blobs.write_batch(BATCH)
    fresh = blobs_of(divided.staging)
    assert fresh.find_missing(DIGESTS) == set()
    touched = []
    monkeypatch.setattr(fresh, "_make_young", lambda *_, **__: touched.append(1) or True)
    assert fresh.find_missing(DIGESTS) == set()
    assert touched == []


@pytest.mark.parametrize("wrong", [b"other ", b"of another length"])
def test_wrong_bytes_are_refused_as_here(volume, divided, wrong):
    batch = [*BATCH[:50], (DIGESTS[50], wrong + DATA[50][len(wrong) :]), *BATCH[51:]]
    with pytest.raises(DigestMismatch, match=str(DIGESTS[50])):
        divided.write_aside(batch)
    divided.write_aside(BATCH[:10])  # and the next one is not mistaken for it
    assert content(volume, DIGESTS[9]) == DATA[9]


def test_what_is_refused_for_want_of_room_is_refused_as_here(volume, divided, helped):
    divided.account.refusal = CacheTooFull("full")
    with pytest.raises(CacheTooFull, match="full"):
        divided.write_aside(BATCH)
    divided.account.refusal = None
    divided.write_aside(BATCH)
    assert [content(volume, digest) for digest in DIGESTS] == DATA


def test_after_a_fence_nothing_is_published(volume, divided):
    fence(volume)
    with pytest.raises(LeaseLost):
        divided.write_aside(BATCH)
    assert not any(os.path.exists(volume.layout.object(digest.hash)) for digest in DIGESTS)


@pytest.mark.parametrize("what", ["write", "look"])
def test_a_killed_one_is_no_loss(volume, divided, companion, what, monkeypatch):
    send, killed = Session.send, []

    def sent(session, units):
        if not killed:
            killed.append(pid_of(companion))
            kill(killed[0])
        send(session, units)

    monkeypatch.setattr(Session, "send", sent)
    if what == "look":
        assert divided.blobs.find_missing(DIGESTS) == set(DIGESTS)
    divided.write_aside(BATCH)
    assert killed
    assert [content(volume, digest) for digest in DIGESTS] == DATA
    divided.end()
    assert divided.staging.added_bytes >= len(BATCH) * volume.charge(1), "never too little"


def test_it_is_let_go_for_another_operation_unless_it_is_at_work(volume, companion, divided, helped):
    divided.write_aside(BATCH[:10])
    other = Divided(volume, companion, "op2")
    try:
        assert volume.turn.claim(divided.batches)
        assert not other.batches.begin()
        volume.turn.free(divided.batches)
        assert other.batches.begin()
        other.write_aside(BATCH[10:20])
        divided.write_aside(BATCH[20:30])
        assert len(helped) == 3
        assert [content(volume, digest) for digest in DIGESTS[:30]] == DATA[:30]
    finally:
        other.end()


def test_an_end_does_not_wait_for_ever_for_who_does_not_get_on(volume, divided, monkeypatch):
    monkeypatch.setattr(batches, "WORK_S", 0.1)
    claim = threading.Thread(target=volume.turn.claim, args=[divided.batches])
    claim.start()
    claim.join()
    assert not divided.batches.close()
    volume.turn.free(divided.batches)
    assert divided.batches.close()


def test_who_has_the_slot_itself_waits_for_nobody(volume, divided):
    """Neither where it asks for room at work, nor where it lost the slot by an exception from outside."""
    assert volume.turn.claim(divided.batches)
    assert not divided.batches.rest(3600.0)
    assert divided.batches.close()


def test_many_threads_divide_their_batches(volume, divided, helped):
    blobs = [(Digest.of(data), data) for data in (b"%d of many" % number for number in range(4000))]
    failures = []

    def work(number):
        try:
            for start in range(number * 1000, number * 1000 + 1000, 100):
                divided.blobs.write_batch(blobs[start : start + 100])
        except Exception as failure:  # noqa: BLE001 -- told below
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(content(volume, digest) == data for digest, data in blobs)
    assert divided.staging.added_bytes == len(blobs) * volume.charge(1)


def test_one_that_is_closed_begins_no_more(divided):
    divided.batches.close()
    assert not divided.batches.begin()


def test_without_one_all_is_done_here(volume, companion, monkeypatch, helped):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    operation = Divided(volume, companion)
    assert operation.blobs.find_missing(DIGESTS) == set(DIGESTS)
    operation.write_aside(BATCH)
    operation.end()
    assert helped == []
    assert [content(volume, digest) for digest in DIGESTS] == DATA
