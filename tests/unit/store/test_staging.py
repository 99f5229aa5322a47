import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.volumes import Account, WatchedVolume, bare_volume, begin, blobs_of, fence

from caskeeper.digest import Digest
from caskeeper.errors import CacheTooFull, LeaseLost, NoSpace
from worker.store.staging import Staging


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def test_an_operation_begins_with_its_folder_and_start_whose_time_is_its_start(volume):
    staging = begin(volume)
    assert os.listdir(staging.folder) == ["start"]
    assert staging.start_ns == os.stat(f"{staging.folder}/start").st_mtime_ns


def test_a_folder_is_begun_once(volume):
    begin(volume)
    with pytest.raises(LeaseLost):
        begin(volume)


def test_names_are_never_used_twice_by_any_thread(volume):
    staging = begin(volume)
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: staging.path(), range(1000)))
    assert len(set(paths)) == 1000


def test_bytes_are_spent_before_they_are_written(volume):
    account = Account(limit_bytes=volume.block_bytes)
    staging = begin(volume, account=account)
    staging.stage(b"x")
    for attempt in (lambda: staging.stage(b"y"), lambda: staging.stage_stream(1)):
        with pytest.raises(CacheTooFull):
            attempt()
    assert len(os.listdir(staging.folder)) == 2


def test_what_is_published_counts_and_what_is_discarded_is_refunded(volume):
    account = Account()
    staging = begin(volume, account=account)
    block = volume.block_bytes
    place = volume.layout.object("ab" * 32)
    assert staging.publish(staging.stage(b"one"), place, size_bytes=3) is True
    assert (staging.added_bytes, account.spent) == (block, block)
    assert staging.publish(staging.stage(b"two"), place, size_bytes=3) is False
    assert (staging.added_bytes, account.spent) == (block, block)
    staging.discard(staging.stage(b"three"), size_bytes=5)
    assert (staging.added_bytes, account.spent) == (block, block)
    assert os.listdir(staging.folder) == ["start"]


def test_i5_what_a_fence_has_taken_is_not_refunded_by_who_throws_it_away(volume):
    """It lies in a trash folder, and is on the disk until a cleanup has removed it."""
    account = Account()
    staging = begin(volume, account=account)
    arriving = blobs_of(staging).receive(Digest.of(b"x" * 10_000))
    arriving.write(b"x" * 5_000)
    stream = staging.stage_stream(10_000)
    spent = account.spent
    fence(volume)
    arriving.discard()
    arriving.discard()
    assert stream.discard() is False
    assert account.spent == spent > 0


@pytest.mark.parametrize("stage", ["stage", "stage_stream"])
def test_i5_what_a_fence_takes_while_it_is_staged_is_not_refunded(volume, monkeypatch, stage):
    account = Account()
    staging = begin(volume, account=account)
    whole = getattr(volume, stage)

    def fenced(path, *arguments, **options):
        whole(path, *arguments, **options)
        fence(volume)
        raise LeaseLost("in the middle of it")

    monkeypatch.setattr(volume, stage, fenced)
    with pytest.raises(LeaseLost):
        getattr(staging, stage)(*([b"x"] if stage == "stage" else [1]))
    assert account.spent == volume.block_bytes


def test_a_stream_whose_write_failed_is_refunded_once(volume, monkeypatch):
    account = Account()
    arriving = blobs_of(begin(volume, account=account)).receive(Digest.of(b"x" * 10_000))

    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("worker.store.staged_file.write_all", full)
    with pytest.raises(NoSpace):
        arriving.write(b"x")
    arriving.discard()
    arriving.discard()
    assert account.spent == 0


def test_a_failed_write_is_refunded(tmp_path):
    def full(verb, *paths):
        if verb in {"stage", "create"}:
            raise NoSpace("full")

    account = Account()
    volume = bare_volume(tmp_path, WatchedVolume)
    staging = begin(volume, account=account)
    volume.before = full
    with pytest.raises(NoSpace):
        staging.stage(b"x")
    with pytest.raises(NoSpace):
        staging.stage_stream(1)
    assert account.spent == 0


def test_what_a_fence_took_is_not_refunded(volume):
    """The fence's owner turns the whole reservation into used; a refund would let it be spent again."""
    account = Account()
    staging = begin(volume, account=account)
    staged = staging.stage(b"x")
    fence(volume)
    staging.discard(staged, size_bytes=1)
    assert account.spent == volume.block_bytes


def test_the_end_removes_what_was_left_and_start_last(tmp_path):
    volume = bare_volume(tmp_path, WatchedVolume)
    staging = begin(volume)
    staging.stage(b"x")
    tree = staging.path()
    volume.make_folders(f"{tree}/deep/er")
    volume.stage(f"{tree}/deep/start", b"not ours")
    volume.symlink("/nowhere", f"{tree}/deep/link")
    seen = []
    volume.before = lambda _, *paths: seen.append(paths[0])
    staging.end()
    assert seen[-2:] == [f"{staging.folder}/start", staging.folder]
    assert os.listdir(volume.layout.staging) == []


def test_the_end_of_a_fenced_operation_is_silent_and_changes_nothing(volume):
    staging = begin(volume)
    staging.stage(b"x")
    away = fence(volume)
    staging.end()
    assert len(os.listdir(away)) == 2


def test_an_operation_that_is_fenced_before_its_start_is_made_has_no_start(tmp_path):
    def fences(verb, *paths):
        if verb == "create":
            fence(volume)

    volume = bare_volume(tmp_path, WatchedVolume, before=fences)
    with pytest.raises(LeaseLost):
        begin(volume)


def test_check_is_the_caller_s(volume):
    account = Account()
    Staging(volume, "x", spend=account.spend, refund=account.refund, check=account.check).check()
    assert account.checks == 1
