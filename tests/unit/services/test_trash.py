"""A cleanup's trash folder: its fence, and its clock."""

import os

import pytest
from harness.volumes import WatchedVolume, new_volume

from caskeeper.errors import Busy, LeaseLost
from worker.store.trash import Trash
from worker.store.volume import Volume


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


class Overtaken(Volume):
    """Another cleanup renames the folder away right after one change of it."""

    def __init__(self, layout, *, at):
        super().__init__(layout)
        self.at = at

    def make_folder(self, path, *, mode=0o777):
        made = super().make_folder(path, mode=mode)
        self._lose("make_folder", path)
        return made

    def touch(self, path):
        touched = super().touch(path)
        self._lose("touch", path)
        return touched

    def _lose(self, verb, path):
        if verb == self.at and os.path.dirname(path) == self.layout.trashes:
            os.rename(path, f"{path}.recovers.x")


def _start_and_go_on(trash):
    trash.begin()
    trash.clock_went_on()


@pytest.mark.parametrize("at", ["make_folder", "touch"])
def test_who_is_fenced_between_a_change_of_the_folder_and_the_look_at_it_has_lost_the_lease(tmp_path, at):
    with pytest.raises(LeaseLost):
        _start_and_go_on(Trash(new_volume(tmp_path, Overtaken, at=at), "cleanup-1"))
