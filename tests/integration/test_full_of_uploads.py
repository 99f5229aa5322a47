"""A cache full of what is pinned and of uploads without a name: whether waiting helps (decision 0008)."""

import os

import pytest
from harness.fleet import fleet, write_tree
from harness.serving import serving

from caskeeper.contract import CleanupRequest, CommitRequest
from caskeeper.errors import CacheTooFull, NoSpace
from worker.protocols import quiet

KIB = 1024


@pytest.fixture
def services(tmp_path, valkey, monkeypatch):
    """200K, of which 100K are pinned; nobody waits for long."""
    monkeypatch.setattr("worker.services.room.WAIT_S", 0.1)
    with fleet(tmp_path, valkey.url, quota="200K") as made:
        commit(made, tmp_path, "p/kept/k", 88 * KIB)
        made.pins.pin(["p/kept/*"], quiet())
        yield made


def commit(services, folder, ref, *sizes):
    files = {f"{number}": os.urandom(size) for number, size in enumerate(sizes)}
    tree = write_tree(f"{folder}/src-{ref.replace('/', '-')}", files)
    return services.run(CommitRequest(path=tree, refs=(ref,)), quiet())


def upload(services, size):
    """By a server that has ended since: what it told its client is kept for a while."""
    with serving(services) as peer:
        peer.upload(os.urandom(size))


def test_uploads_that_go_by_waiting_make_it_no_space_for_now(services, tmp_path):
    upload(services, 60 * KIB)
    with pytest.raises(NoSpace) as caught:
        commit(services, tmp_path, "p/new/k", 60 * KIB)
    assert "too young to go" in caught.value.what
    assert "try again" in caught.value.way_out


def test_uploads_too_small_to_help_leave_it_too_full_for_good(services, tmp_path):
    upload(services, 8 * KIB)
    with pytest.raises(CacheTooFull):
        commit(services, tmp_path, "p/new/k", 140 * KIB)


def test_what_the_write_itself_has_written_does_not_count_as_going(services, tmp_path):
    with pytest.raises(CacheTooFull):
        commit(services, tmp_path, "p/new/k", *[20 * KIB] * 6)


def test_a_cleanup_that_cannot_help_says_the_same(tmp_path, valkey, services):
    upload(services, 60 * KIB)
    with fleet(tmp_path, valkey.url, quota="140K") as smaller, pytest.raises(NoSpace):
        smaller.run(CleanupRequest(), quiet())
    with fleet(tmp_path, valkey.url, quota="80K") as smallest, pytest.raises(CacheTooFull):
        smallest.run(CleanupRequest(), quiet())
