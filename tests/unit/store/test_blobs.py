import contextlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.volumes import (
    Account,
    Dead,
    DyingVolume,
    WatchedVolume,
    bare_volume,
    begin,
    blobs_of,
    fence,
)

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    CacheTooFull,
    Cancelled,
    DigestMismatch,
    LeaseLost,
    NoSpace,
    VolumeFailed,
)
from worker.store import blobs as module
from worker.store.measure import used_bytes
from worker.store.system_calls import MTIME_S

CONTENT = b"content" * 2000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def pieces(content, length=1000):
    return [content[start : start + length] for start in range(0, len(content), length)]


def stored(volume, digest=DIGEST):
    with open(volume.layout.object(digest.hash), "rb") as file:
        return file.read()


WRITES = {
    "write_batch": lambda blobs: blobs.write_batch([(DIGEST, CONTENT)]),
    "write_stream": lambda blobs: blobs.write_stream(DIGEST, iter(pieces(CONTENT))),
    "add": lambda blobs: blobs.add(CONTENT),
    "add_stream": lambda blobs: blobs.add_stream(len(CONTENT), pieces(CONTENT)),
}
each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


# -- one writer --------------------------------------------------------------------------------------------


@each_write
def test_i1_what_is_written_is_there_whole_read_only_and_with_the_constant_time(volume, blobs, write):
    write(blobs)
    there = os.stat(volume.layout.object(DIGEST.hash))
    assert stored(volume) == CONTENT
    assert stat.S_IMODE(there.st_mode) == 0o444
    assert there.st_mtime_ns == MTIME_S * 10**9
    assert there.st_atime_ns >= blobs.staging.start_ns
    assert blobs.read_batch([DIGEST]) == [(DIGEST, CONTENT)]
    assert b"".join(blobs.read_stream(DIGEST)) == CONTENT


@each_write
def test_i5_what_was_added_is_what_was_spent_and_what_is_there(volume, blobs, account, write):
    write(blobs)
    assert blobs.staging.added_bytes == account.spent == used_bytes(volume)
    assert account.spent == volume.charge(len(CONTENT))


@each_write
def test_i8_writing_again_adds_nothing_and_leaves_the_inode(volume, account, blobs, write):
    write(blobs)
    inode = os.stat(volume.layout.object(DIGEST.hash)).st_ino
    again = blobs_of(begin(volume, "again", account))
    write(again)
    assert again.staging.added_bytes == 0
    assert account.spent == volume.charge(len(CONTENT))
    assert os.stat(volume.layout.object(DIGEST.hash)).st_ino == inode
    assert os.listdir(again.staging.folder) == ["start"]


@each_write
def test_i4_writing_what_is_there_makes_it_young(volume, blobs, write):
    write(blobs)
    os.utime(volume.layout.object(DIGEST.hash), ns=(1, MTIME_S * 10**9))
    again = blobs_of(begin(volume, "again"))
    write(again)
    assert os.stat(volume.layout.object(DIGEST.hash)).st_atime_ns >= again.staging.start_ns


def test_a_present_blob_is_not_asked_of_its_sender(blobs):
    def sender():
        raise AssertionError("asked")
        yield b""

    blobs.add(CONTENT)
    blobs.write_stream(DIGEST, sender())


def test_the_empty_blob_needs_no_file(volume, blobs, account):
    assert blobs.refresh(EMPTY)
    blobs.write_batch([(EMPTY, b"")])
    blobs.write_stream(EMPTY, [])
    assert blobs.add(b"") == blobs.add_stream(0, []) == EMPTY
    assert blobs.find_missing([EMPTY]) == set()
    assert blobs.read_batch([EMPTY]) == [(EMPTY, b"")]
    assert used_bytes(volume) == account.spent == 0


WRONG = {
    "short": CONTENT[:-1],
    "long": CONTENT + b"x",
    "other bytes": b"X" + CONTENT[1:],
    "nothing": b"",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_wrong_bytes_leave_nothing_and_cost_nothing(volume, blobs, account, content):
    with pytest.raises(DigestMismatch):
        blobs.write_stream(DIGEST, pieces(content))
    with pytest.raises(DigestMismatch):
        blobs.write_batch([(DIGEST, content)])
    assert used_bytes(volume) == account.spent == blobs.staging.added_bytes == 0


def test_a_sender_of_more_than_it_said_is_stopped_at_once(volume, blobs):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield CONTENT

    with pytest.raises(DigestMismatch):
        blobs.write_stream(DIGEST, endless())
    assert len(taken) == 2


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"])
def test_a_stream_of_another_length_than_said_is_refused(volume, blobs, account, content):
    with pytest.raises(DigestMismatch):
        blobs.add_stream(len(CONTENT), pieces(content))
    assert used_bytes(volume) == account.spent == 0


@each_write
def test_without_room_nothing_is_written(volume, write):
    account = Account(limit_bytes=4096)
    with pytest.raises(CacheTooFull):
        write(blobs_of(begin(volume, account=account)))
    assert used_bytes(volume) == account.spent == 0


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path, account):
    def full(verb, *paths):
        if verb == "write" and os.path.getsize(paths[0]) > 5000:
            raise OSError(28, "No space left on device")

    volume = bare_volume(tmp_path, WatchedVolume, before=full)
    blobs = blobs_of(begin(volume, account=account))
    with pytest.raises(NoSpace):
        blobs.write_stream(DIGEST, pieces(CONTENT))
    assert used_bytes(volume) == account.spent == 0


def test_a_sender_that_fails_leaves_nothing(volume, blobs, account):
    def sender():
        yield CONTENT[:1000]
        raise Cancelled("gone")

    with pytest.raises(Cancelled):
        blobs.write_stream(DIGEST, sender())
    assert used_bytes(volume) == account.spent == 0


def test_a_stop_between_pieces_is_heeded(volume, account, blobs):
    account.stop_at = 3
    with pytest.raises(Cancelled):
        blobs.write_stream(DIGEST, pieces(CONTENT))
    with pytest.raises(Cancelled):
        blobs.write_batch([(DIGEST, CONTENT)])
    with pytest.raises(Cancelled):
        blobs.find_missing([DIGEST])
    assert used_bytes(volume) == account.spent == 0


# -- relying on what is there ------------------------------------------------------------------------------


def test_what_is_missing_is_found_exactly(blobs):
    here = [blobs.add(bytes([number])) for number in range(5)]
    gone = [Digest.of(bytes([number])) for number in range(5, 9)]
    assert blobs.find_missing([*here, *gone, EMPTY]) == set(gone)


def test_a_file_of_another_size_is_not_relied_upon_and_not_replaced(volume, blobs):
    path = volume.layout.object(DIGEST.hash)
    with open(path, "wb") as file:
        file.write(CONTENT[:-5])
    for attempt in (blobs.refresh, lambda d: blobs.find_missing([d]), lambda _: blobs.add(CONTENT)):
        with pytest.raises(DigestMismatch) as raised:
            attempt(DIGEST)
        assert path in str(raised.value)
        assert "verify --repair" in raised.value.way_out
    assert stored(volume) == CONTENT[:-5]


def test_a_digest_with_another_size_is_a_wrong_claim(blobs):
    blobs.add(CONTENT)
    with pytest.raises(DigestMismatch) as raised:
        blobs.refresh(Digest(DIGEST.hash, 3))
    assert raised.value.where == ""


def test_an_object_taken_between_the_touch_and_the_look_is_a_miss(tmp_path):
    """safety.md section 3: the touch landed on an inode that a cleanup has just taken away."""

    class Touching(WatchedVolume):
        def touch(self, path):
            touched = super().touch(path)
            if touched:
                os.rename(path, f"{self.layout.root}/taken")
            return touched

    blobs_of(begin(bare_volume(tmp_path))).add(CONTENT)
    volume = bare_volume(tmp_path, Touching)
    assert blobs_of(begin(volume, "second")).refresh(DIGEST) is False


def test_an_object_made_old_by_somebody_is_touched_until_it_is_young(tmp_path):
    seen = []

    class Rival(WatchedVolume):
        def touch(self, path):
            touched = super().touch(path)
            seen.append(path)
            if len(seen) < 3:
                os.utime(path, ns=(1, MTIME_S * 10**9))
            return touched

    blobs_of(begin(bare_volume(tmp_path))).add(CONTENT)
    assert blobs_of(begin(bare_volume(tmp_path, Rival), "second")).refresh(DIGEST) is True
    assert len(seen) == 3


def test_a_clock_that_went_back_is_trouble_of_the_volume(blobs, monkeypatch):
    monkeypatch.setattr(module, "_MOMENT_S", 0)
    blobs.add(CONTENT)
    later = blobs_of(begin(blobs.staging.volume, "later"))
    later.staging.start_ns += 3600 * 10**9
    with pytest.raises(VolumeFailed):
        later.refresh(DIGEST)


def test_an_object_is_touched_once_by_an_operation(tmp_path):
    volume = bare_volume(tmp_path, WatchedVolume)
    blobs_of(begin(volume)).add(CONTENT)
    second = blobs_of(begin(volume, "second"))
    volume.verbs.clear()
    assert second.refresh(DIGEST)
    assert second.refresh(DIGEST)
    assert volume.verbs == ["touch"]


# -- several writers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["write_batch", "write_stream", "add"])
def test_a_writer_that_comes_second_counts_nothing_and_relies_on_the_first(tmp_path, account, name):
    def rival(verb, *paths):
        if verb == "publish":
            volume.stage(paths[1], CONTENT)
            os.utime(paths[1], ns=(1, MTIME_S * 10**9))

    volume = bare_volume(tmp_path, WatchedVolume, before=rival)
    blobs = blobs_of(begin(volume, account=account))
    WRITES[name](blobs)
    path = volume.layout.object(DIGEST.hash)
    assert blobs.staging.added_bytes == account.spent == 0
    assert os.stat(path).st_atime_ns >= blobs.staging.start_ns
    assert os.listdir(blobs.staging.folder) == ["start"]


def test_threads_of_one_operation_count_each_object_once(volume, blobs, account):
    contents = [bytes([number]) * 3000 for number in range(50)]
    pairs = [(Digest.of(content), content) for content in contents]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: blobs.write_batch(pairs), range(4)))
    assert blobs.staging.added_bytes == account.spent == used_bytes(volume)


@pytest.mark.parametrize("moment", ["at once", "after the first look"])
def test_an_object_that_vanishes_after_publishing_is_written_again(tmp_path, account, monkeypatch, moment):
    vanished, looked, look = [], [], os.lstat

    def rival(path, *more, **options):
        if not vanished and str(path) == place and os.path.exists(place):
            looked.append(path)
            if moment == "at once":
                vanished.append(os.unlink(place))
            elif len(looked) == 1:
                volume.verbs.append("age")
                os.utime(place, (1, MTIME_S))  # its clock went back: it is touched, and gone before that
                volume.before = gone
        return look(path, *more, **options)

    def gone(verb, *_paths):
        if verb == "touch" and not vanished:
            vanished.append(os.unlink(place))

    volume = bare_volume(tmp_path, WatchedVolume)
    place = volume.layout.object(DIGEST.hash)
    blobs = blobs_of(begin(volume, account=account))
    monkeypatch.setattr(os, "lstat", rival)
    blobs.add(CONTENT)
    assert vanished
    assert stored(volume) == CONTENT
    assert volume.verbs.count("publish") == 2


def test_what_was_published_is_touched_when_it_was_staged_and_looked_at_where_it_is(tmp_path, monkeypatch):
    looked, look = [], os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **options: (looked.append(path), look(path, **options))[1])
    volume = bare_volume(tmp_path, WatchedVolume)
    blobs = blobs_of(begin(volume))
    volume.verbs.clear()
    blobs.add(CONTENT)
    blobs.add(CONTENT)
    assert volume.verbs == ["touch", "stage", "publish"]
    assert looked == [volume.layout.object(DIGEST.hash)]


@each_write
def test_a_fenced_writer_writes_nothing_and_learns_it(volume, blobs, write):
    away = fence(volume)
    with pytest.raises(LeaseLost):
        write(blobs)
    assert not os.path.exists(volume.layout.object(DIGEST.hash))
    assert os.listdir(away) == ["start"]


@each_write
@pytest.mark.parametrize("at", range(1, 9))
def test_a_writer_that_dies_anywhere_leaves_a_whole_object_or_none(tmp_path, write, at):
    account = Account()
    staging = begin(bare_volume(tmp_path), account=account)
    staging.volume = bare_volume(tmp_path, DyingVolume, at=at)
    with contextlib.suppress(Dead):  # later than its last change it has not died at all
        write(blobs_of(staging))
    volume = bare_volume(tmp_path)
    path = volume.layout.object(DIGEST.hash)
    assert not os.path.exists(path) or stored(volume) == CONTENT
    write(blobs_of(begin(volume, "second")))
    assert stored(volume) == CONTENT
