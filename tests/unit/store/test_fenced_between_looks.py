"""What others do between two looks of one change of the volume is no failure of it."""

import os

import pytest
from harness.volumes import begin, fence, new_volume

from caskeeper.errors import VolumeFailed
from worker.store.volume import Outcome


def test_a_folder_whose_operation_is_fenced_while_its_way_is_made_is_gone(tmp_path, monkeypatch):
    volume = new_volume(tmp_path)
    staging = begin(volume)
    staged = staging.path()
    volume.make_folder(staged)
    there = os.path.lexists

    def fenced_after_the_look(path):
        seen = there(path)
        if path == staged and seen:
            fence(volume)
        return seen

    monkeypatch.setattr(os.path, "lexists", fenced_after_the_look)
    # its place has no folder above it yet
    assert volume.move_folder(staged, f"{volume.layout.extracts}/p/a/root") is Outcome.GONE


def test_a_folder_that_was_there_and_is_pruned_before_the_look_is_made_again(tmp_path, monkeypatch):
    volume = new_volume(tmp_path)
    folder = f"{volume.layout.refs}/p"
    make, made = os.mkdir, []

    def another_is_first_and_prunes(path, *arguments):
        make(path, *arguments)
        made.append(path)
        if len(made) == 1:
            os.rmdir(path)
            raise FileExistsError(path)

    monkeypatch.setattr(os, "mkdir", another_is_first_and_prunes)
    volume.make_folders(folder)
    assert made == [folder, folder]
    assert os.path.isdir(folder)


@pytest.mark.parametrize("kind", ["file", "fifo", "dangling link"])
def test_what_is_no_folder_is_told_where_one_belongs(tmp_path, kind):
    volume = new_volume(tmp_path)
    path = f"{volume.layout.refs}/p"
    make = {
        "file": lambda: volume.create(path),
        "fifo": lambda: os.mkfifo(path),
        "dangling link": lambda: os.symlink("nowhere", path),
    }
    make[kind]()
    with pytest.raises(VolumeFailed, match="a file stands where a folder belongs"):
        volume.make_folders(path)
