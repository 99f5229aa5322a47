"""A cleanup's trash folder: its fence, and its clock."""

import os

import pytest
from harness.volumes import WatchedVolume, new_volume

from caskeeper.errors import Busy, LeaseLost
from worker.services.trash import Trash


@pytest.fixture
def trash(tmp_path):
    made = Trash(new_volume(tmp_path, WatchedVolume), "cleanup-1")
    made.begin()
    return made


def test_a_clock_that_went_on_is_asked_without_a_new_file(trash):
    trash.volume.verbs.clear()
    trash.clock_went_on()
    assert trash.volume.verbs == ["touch"]
    assert os.listdir(trash.folder) == []


def test_a_clock_that_went_back_stops_the_cleanup(trash):
    trash.start_ns += 3600 * 10**9
    with pytest.raises(Busy, match="clock went back"):
        trash.clock_went_on()


def test_who_took_the_folder_over_has_stopped_the_cleanup(trash):
    os.rename(trash.folder, trash.volume.layout.trash("stolen"))
    with pytest.raises(LeaseLost):
        trash.clock_went_on()
