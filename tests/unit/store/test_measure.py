import os

import pytest
from harness.volumes import bare_volume, begin, blobs_of

from caskeeper.errors import VolumeFailed
from worker.store.format import make_ballast
from worker.store.measure import used_bytes


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


def test_a_fresh_volume_uses_nothing(volume):
    assert used_bytes(volume) == 0


def test_every_file_counts_once_rounded_to_the_block(volume):
    block = volume.block_bytes
    layout = volume.layout
    for path, size in (
        (layout.object("ab" * 32), 1),
        (layout.executable("ab" * 32), block),
        (layout.closure("ab" * 32, "whole"), block + 1),
        (f"{layout.staging}/x", 1),
        (f"{layout.trashes}/x", 1),
        (f"{layout.extracts}/x", 1),
        (f"{layout.refs}/x", 0),
    ):
        volume.stage(path, bytes(size))
    assert used_bytes(volume) == 7 * block - block + block


def test_further_names_of_a_file_do_not_count(volume):
    volume.stage(f"{volume.layout.staging}/x", b"x")
    for number, folder in enumerate((volume.layout.extracts, volume.layout.trashes, volume.layout.staging)):
        os.link(f"{volume.layout.staging}/x", f"{folder}/{number}")
    assert used_bytes(volume) == volume.block_bytes


def test_folders_links_and_what_lies_elsewhere_do_not_count(volume):
    layout = volume.layout
    os.symlink("/etc/hostname", f"{layout.extracts}/link")
    os.symlink(layout.root, f"{layout.extracts}/loop")
    volume.make_folders(f"{layout.extracts}/deep/er")
    make_ballast(volume)
    volume.stage(f"{layout.run}/state", b"x")
    volume.stage(layout.format, b"x")
    assert used_bytes(volume) == 0


def test_it_agrees_with_what_an_operation_added(volume):
    blobs = blobs_of(begin(volume))
    for number in range(30):
        blobs.executable(blobs.add(bytes(number * 700 + 1)))
    assert used_bytes(volume) == blobs.staging.added_bytes


def test_i9_a_volume_that_is_not_mounted_is_not_empty(volume):
    os.rename(f"{volume.layout.root}/cas", f"{volume.layout.root}/away")
    with pytest.raises(VolumeFailed):
        used_bytes(volume)
