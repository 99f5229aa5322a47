"""What a cleanup takes away, where a file system cannot rename to free names only."""

import os

import pytest
from harness.volumes import WatchedVolume, begin, blobs_of, new_volume

from caskeeper.digest import Digest
from worker.store.objects import Objects
from worker.store.taking import Taker
from worker.store.trash import Trash

DATA = b"content"
DIGEST = Digest.of(DATA)
HORIZON_NS = 10**18


@pytest.fixture
def volume(tmp_path):
    made = new_volume(tmp_path, WatchedVolume)
    made.has_noreplace = False
    blobs_of(begin(made)).add(DATA)
    os.utime(made.layout.object(DIGEST.hash), ns=(0, 0))
    return made


@pytest.fixture
def taker(volume):
    trash = Trash(volume, "cleanup-1")
    trash.begin()
    return Taker(trash, horizon_ns=HORIZON_NS)


def test_what_goes_is_given_back(taker, volume):
    assert taker.take_object(DIGEST.hash) == (volume.charge(len(DATA)), False)


def test_i5_what_a_reader_puts_back_by_a_link_between_look_and_unlink_is_not_given_back(taker, volume):
    """It is on the disk, whoever unlinked the name in the trash."""

    def read(verb, *paths):
        if verb == "unlink" and paths[0].startswith(taker.trash.folder):
            volume.before = None
            os.link(paths[0], volume.layout.object(DIGEST.hash))  # the first of a reader's two steps

    volume.before = read
    assert taker.take_object(DIGEST.hash) == (0, True)
    assert Objects(volume).read(DIGEST) == DATA
