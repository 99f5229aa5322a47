"""After many new objects in a row the next one is written without a look: what that must not change."""

import errno
import os

import pytest
from harness.volumes import Account, WatchedVolume, bare_volume, begin, blobs_of

from caskeeper.digest import Digest
from caskeeper.errors import CacheTooFull, DigestMismatch
from worker.store import blobs as module
from worker.store.measure import used_bytes
from worker.store.system_calls import MTIME_S

CONTENT = b"what is there already" * 500
DIGEST = Digest.of(CONTENT)
FIRST_LOOK = ["touch", "stage", "publish"]


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path, WatchedVolume)


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def blobs(volume, account):
    """Of an operation that has added so many new objects that it takes the next one for new."""
    made = blobs_of(begin(volume, "row", account=account))
    add_row(made, "row")
    volume.verbs.clear()
    return made


def add_row(blobs, name):
    for number in range(module._ALIKE):
        blobs.add(f"{name} {number}".encode())


def put(volume, content=CONTENT, digest=DIGEST):
    """An old object of somebody else."""
    path = volume.layout.object(digest.hash)
    volume.stage(path, content)
    os.utime(path, ns=(1, MTIME_S * 10**9))
    volume.verbs.clear()
    return path


def test_the_next_one_is_written_without_a_look(volume, blobs, account):
    assert blobs.add(CONTENT) == DIGEST
    assert volume.verbs == ["stage", "publish"]
    assert blobs.staging.added_bytes == account.spent == used_bytes(volume)


def test_before_that_each_one_is_looked_for(volume, account):
    blobs = blobs_of(begin(volume, account=account))
    volume.verbs.clear()
    add_row(blobs, "first")
    assert volume.verbs == FIRST_LOOK * module._ALIKE


def test_what_is_there_costs_nothing_and_is_made_young_and_the_row_is_over(volume, blobs, account):
    path = put(volume)
    inode, spent = os.stat(path).st_ino, account.spent
    assert blobs.add(CONTENT) == DIGEST
    assert volume.verbs == ["stage", "publish", "unlink", "touch"]
    there = os.stat(path)
    assert there.st_ino == inode
    assert there.st_atime_ns >= blobs.staging.start_ns
    assert blobs.staging.added_bytes == account.spent == spent
    assert os.listdir(blobs.staging.folder) == ["start"]
    volume.verbs.clear()
    blobs.add(b"new again")
    assert volume.verbs == FIRST_LOOK


def test_room_is_not_asked_for_what_is_there(volume, blobs, account):
    put(volume)
    account.limit_bytes = account.spent
    assert blobs.add(CONTENT) == DIGEST
    assert volume.verbs == ["touch"]
    with pytest.raises(CacheTooFull):
        blobs.add(b"not there")


def test_a_full_disk_does_not_refuse_what_is_there(volume, blobs, account, monkeypatch):
    put(volume)
    spent, stage = account.spent, os.open

    def full(path, flags, *more, **options):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return stage(path, flags, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        assert blobs.add(CONTENT) == DIGEST
    assert blobs.staging.added_bytes == account.spent == spent


@pytest.mark.parametrize("content", [CONTENT[:-5], b"x"])
def test_what_is_damaged_is_told_as_ever(volume, blobs, content):
    put(volume, content)
    with pytest.raises(DigestMismatch):
        blobs.add(CONTENT)
    assert os.listdir(blobs.staging.folder) == ["start"]


def test_it_is_announced_before_it_is_staged(volume, blobs):
    told = []
    blobs.staging.announce = lambda digests: told.extend((*digests, tuple(volume.verbs)))
    blobs.add(CONTENT)
    assert told == [DIGEST, ()]


def test_what_was_missed_is_written_without_another_look(volume, account):
    blobs = blobs_of(begin(volume, account=account))
    assert blobs.find_missing([DIGEST]) == {DIGEST}
    volume.verbs.clear()
    blobs.write_batch([(DIGEST, CONTENT)])
    assert volume.verbs == ["stage", "publish"]
    blobs.write_batch([(DIGEST, CONTENT)])
    assert volume.verbs == ["stage", "publish"]
    assert blobs.staging.added_bytes == account.spent == used_bytes(volume)


def test_what_was_missed_and_has_come_since_costs_nothing(volume, account):
    blobs = blobs_of(begin(volume, account=account))
    blobs.find_missing([DIGEST])
    put(volume)
    blobs.write_batch([(DIGEST, CONTENT)])
    assert volume.verbs == ["stage", "publish", "unlink", "touch"]
    assert blobs.staging.added_bytes == account.spent == 0


@pytest.mark.parametrize("found_again", [False, True])
def test_room_is_not_asked_for_what_was_missed_and_has_come_since(volume, account, found_again):
    blobs = blobs_of(begin(volume, account=account))
    blobs.find_missing([DIGEST])
    put(volume)
    account.limit_bytes = 0
    if found_again:
        assert blobs.find_missing([DIGEST]) == set()
    blobs.write_batch([(DIGEST, CONTENT)])
    assert volume.verbs == ["touch"]
