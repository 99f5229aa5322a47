"""COORDINATOR: what stands there and is no file of ours is damaged, and holds nobody up."""

import os

import pytest
from harness.volumes import new_volume

from worker.store.coordinator import Coordinator, read_coordinator, write_coordinator


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


def test_what_was_written_is_read(volume):
    written = Coordinator("epoch", "redis://somewhere/0")
    write_coordinator(volume, written)
    assert read_coordinator(volume.layout) == written


def test_a_pipe_in_its_place_is_damaged_and_nobody_waits_for_its_writer(volume):
    os.mkfifo(volume.layout.coordinator)
    assert read_coordinator(volume.layout) is None
    written = Coordinator("epoch", "redis://somewhere/0")
    write_coordinator(volume, written)
    assert read_coordinator(volume.layout) == written


@pytest.mark.parametrize("content", [b"", b"junk", b'{"epoch": 1, "redis": "r"}', b"[]"])
def test_what_nobody_of_ours_wrote_is_damaged(volume, content):
    with open(volume.layout.coordinator, "wb") as file:
        file.write(content)
    assert read_coordinator(volume.layout) is None
