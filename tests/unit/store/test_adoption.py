import os
import shutil
import stat

import pytest
from harness.volumes import Account, Dead, DyingVolume, bare_volume, begin, blobs_of

from caskeeper.digest import Digest
from caskeeper.errors import Cancelled, VolumeFailed
from caskeeper.layout import Layout
from worker._protos import remote_execution_pb2 as pb
from worker.store.adoption import adopt, needs_adoption
from worker.store.format import creation_lock, new_format, prepare_folders, publish_format, stage_format
from worker.store.measure import used_bytes
from worker.store.objects import Objects
from worker.store.system_calls import MTIME_S
from worker.store.volume import Volume

PLAIN, PROGRAM, SHARED, STREAMED = (
    Digest.of(content) for content in (b"plain", b"#!/bin/sh", b"shared", b"s")
)
DAMAGED = Digest.of(b"as it was")


def write(path, content, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


@pytest.fixture
def old(tmp_path):
    """A cache folder as BuildStream 1.x leaves it: modes by the way in, links into extracts and checkouts."""
    layout = Layout(tmp_path / "artifacts")
    write(layout.object(PLAIN.hash), b"plain")
    write(layout.object(STREAMED.hash), b"s", 0o600)
    write(layout.object(PROGRAM.hash), b"#!/bin/sh", 0o755)
    write(layout.object(SHARED.hash), b"shared")
    write(layout.object(DAMAGED.hash), b"as it is now")
    write(f"{layout.objects}/ab/no-object", b"?")
    reference = pb.Digest(hash=PLAIN.hash, size_bytes=PLAIN.size_bytes).SerializeToString()
    write(f"{layout.refs}/project/element/key", reference, 0o600)
    extract = f"{layout.extracts}/project/element/{'0' * 64}"
    os.makedirs(f"{extract}/bin")
    os.link(layout.object(PROGRAM.hash), f"{extract}/bin/program")
    os.symlink("/", f"{extract}/root")
    os.chmod(f"{extract}/bin", 0o555)
    os.link(layout.object(SHARED.hash), tmp_path / "checkout")
    write(f"{layout.staging}/tmpabc", b"left over")
    os.makedirs(f"{layout.staging}/tmpdir/below")
    write(f"{layout.root}/cache_size", b"12345")
    return layout


def adopted(volume, **arguments):
    """As a worker does at its start, less the part in Redis."""
    with creation_lock(volume) as lock:
        result = adopt(volume, lock, **arguments) if needs_adoption(volume.layout) else None
        if result is not None:
            prepare_folders(volume)
            own = new_format(volume)
            stage_format(volume, own)
            publish_format(volume, own)
        return result


def check(layout, outside):
    for digest in (PLAIN, PROGRAM, SHARED, STREAMED):
        there = os.stat(layout.object(digest.hash))
        assert stat.S_IMODE(there.st_mode) == 0o444
        assert there.st_mtime_ns == MTIME_S * 10**9
        assert there.st_nlink == 1
        assert Objects(Volume(layout)).read(digest)
    assert not os.path.exists(layout.object(DAMAGED.hash))
    with open(f"{layout.root}/damaged/{DAMAGED.hash}", "rb") as file:
        assert file.read() == b"as it is now"
    assert os.listdir(layout.extracts) == []
    assert os.listdir(layout.staging) == []
    assert not os.path.exists(f"{layout.root}/cache_size")
    assert not needs_adoption(layout)
    outside.write_bytes(b"changed from outside")
    assert Objects(Volume(layout)).read(SHARED) == b"shared"


def test_an_old_cache_folder_becomes_a_volume(old, tmp_path):
    reference = f"{old.refs}/project/element/key"
    with open(reference, "rb") as file:
        before = file.read()
    result = adopted(Volume(old))
    assert (result.objects, result.size_bytes) == (4, len(b"plain" + b"#!/bin/sh" + b"shared" + b"s"))
    assert result.damaged == (f"{old.root}/damaged/{DAMAGED.hash}",)
    with open(reference, "rb") as file:
        assert file.read() == before
    check(old, tmp_path / "checkout")


def test_it_is_done_once(old):
    assert adopted(Volume(old)) is not None
    assert adopted(Volume(old)) is None


def test_a_folder_without_refs_is_not_adopted(tmp_path):
    assert not needs_adoption(Layout(tmp_path))


def test_i9_a_volume_that_lost_its_format_is_not_taken_for_an_old_cache(old):
    volume = Volume(old)
    adopted(volume)
    volume.stage(old.closure(PLAIN.hash, "whole"), b"list")
    volume.unlink(old.format)
    with pytest.raises(VolumeFailed, match="FORMAT"):
        needs_adoption(old)


def test_a_creation_that_died_before_its_format_leaves_nothing_to_refuse(tmp_path):
    layout = bare_volume(tmp_path).layout
    assert needs_adoption(layout)
    result = adopted(Volume(layout))
    assert result == (0, 0, ())


def test_a_creation_that_has_staged_its_format_is_not_taken_for_an_old_cache(old):
    volume = Volume(old)
    with creation_lock(volume) as lock:
        adopt(volume, lock)
        stage_format(volume, new_format(volume))
    assert not needs_adoption(old)


def test_an_adopted_object_serves_and_is_not_written_again(old):
    adopted(Volume(old))
    account = Account()
    blobs = blobs_of(begin(Volume(old), account=account))
    assert blobs.add(b"plain") == PLAIN
    assert blobs.find_missing([PLAIN, DAMAGED]) == {DAMAGED}
    blobs.write_batch([(DAMAGED, b"as it was")])
    assert account.spent == blobs.staging.added_bytes == Volume(old).block_bytes


def test_the_size_is_that_of_what_is_kept(old):
    volume = Volume(old)
    adopted(volume)
    # four objects, the file that is none, and the ref
    assert used_bytes(volume) == 6 * volume.block_bytes


def test_a_linked_folder_of_extracts_is_left_alone_behind_its_link(old, tmp_path):
    os.rename(old.extracts, tmp_path / "aside")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    os.symlink(tmp_path / "elsewhere", old.extracts)
    adopted(Volume(old))
    assert (tmp_path / "elsewhere" / "file").exists()


def test_an_adoption_can_be_stopped_and_run_again(old, tmp_path):
    def stop():
        raise Cancelled("the test's stop")

    with pytest.raises(Cancelled):
        adopted(Volume(old), check=stop)
    assert needs_adoption(old)
    assert adopted(Volume(old)).objects == 4
    check(old, tmp_path / "checkout")


def test_an_adoption_that_dies_anywhere_is_completed_by_the_next(old, tmp_path):
    shutil.copytree(old.root, tmp_path / "count", symlinks=True)
    counting = DyingVolume(Layout(tmp_path / "count"), at=10**9)
    with creation_lock(counting) as lock:
        adopt(counting, lock)
    for at in range(1, counting.changes + 1):
        layout = Layout(tmp_path / f"dies-{at}")
        shutil.copytree(old.root, layout.root, symlinks=True)
        outside = tmp_path / f"outside-{at}"
        os.link(layout.object(SHARED.hash), outside)
        with pytest.raises(Dead):
            adopted(DyingVolume(layout, at=at))
        adopted(Volume(layout))
        check(layout, outside)
