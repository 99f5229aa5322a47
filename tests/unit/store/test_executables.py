"""An executable is an inode of its own, made from its object (local-cas section 6, D-10)."""

import os
import stat

import pytest
from harness.volumes import bare_volume, begin, blobs_of

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, DigestMismatch
from worker.store.measure import used_bytes
from worker.store.system_calls import MTIME_S

CONTENT = b"content" * 2000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def test_an_executable_is_an_inode_of_its_own(volume, blobs, account):
    blobs.add(CONTENT)
    path = blobs.executable(DIGEST)
    assert path == volume.layout.executable(DIGEST.hash)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o555
    assert stat.S_IMODE(os.stat(volume.layout.object(DIGEST.hash)).st_mode) == 0o444
    assert os.stat(path).st_mtime_ns == MTIME_S * 10**9
    with open(path, "rb") as file:
        assert file.read() == CONTENT
    assert blobs.staging.added_bytes == account.spent == used_bytes(volume) == 2 * volume.charge(len(CONTENT))


def test_an_executable_is_made_once_and_refreshed_by_each_operation(volume, blobs, account):
    blobs.add(CONTENT)
    path = blobs.executable(DIGEST)
    inode, spent = os.stat(path).st_ino, account.spent
    os.utime(path, ns=(1, MTIME_S * 10**9))
    second = blobs_of(begin(volume, "second", account))
    assert second.executable(DIGEST) == second.executable(DIGEST) == path
    assert os.stat(path).st_ino == inode
    assert os.stat(path).st_atime_ns >= second.staging.start_ns
    assert account.spent == spent


def test_an_executable_without_its_object_is_a_miss(volume, blobs, account):
    with pytest.raises(BlobMissing):
        blobs.executable(DIGEST)
    assert used_bytes(volume) == account.spent == 0


def test_a_damaged_object_gives_no_executable(volume, blobs, account):
    with open(volume.layout.object(DIGEST.hash), "wb") as file:
        file.write(b"X" + CONTENT[1:])
    with pytest.raises(DigestMismatch):
        blobs.executable(DIGEST)
    assert account.spent == 0
    assert not os.path.exists(volume.layout.executable(DIGEST.hash))


def test_an_empty_file_can_be_executable(volume, blobs):
    path = blobs.executable(EMPTY)
    assert os.stat(path).st_size == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o555
