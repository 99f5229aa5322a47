"""Pins are made and removed whole, whatever is interrupted (safety.md sections 4 and 8)."""

import os

import pytest
from harness.volumes import Dead, DyingVolume, WatchedVolume, bare_volume, new_volume

from caskeeper.errors import LeaseLost
from caskeeper.pins import UNFINISHED, Pin
from worker.store.pins import Pins
from worker.store.volume import Volume

OLD, NEW = Pin("p/e/old"), Pin("tools/*")


def names(volume):
    return sorted(os.listdir(volume.layout.pins))


def test_a_pin_is_a_file_named_by_its_pattern_and_holding_it(tmp_path):
    volume = new_volume(tmp_path)
    pins = Pins(volume)
    pins.add(NEW)
    assert names(volume) == [NEW.name]
    with open(f"{volume.layout.pins}/{NEW.name}", "rb") as file:
        assert file.read() == b"tools/*\n"
    pins.add(NEW)
    assert pins.read().pins == (NEW,)
    assert pins.holds(NEW)
    assert pins.remove(NEW)
    assert not pins.remove(NEW)
    assert names(volume) == []


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_a_process_that_dies_at_any_step_leaves_every_pin_readable(tmp_path, verb):
    at, finished = 0, False
    while not finished:
        at += 1
        (tmp_path / f"{at}").mkdir()
        volume = new_volume(tmp_path / f"{at}")
        sound = Pins(volume)
        sound.add(OLD)
        if verb == "remove":
            sound.add(NEW)
        dying = Pins(DyingVolume(volume.layout, at=at))
        try:
            getattr(dying, verb)(NEW)
            finished = True
        except Dead:
            pass
        assert set(sound.read().pins) in ({OLD}, {OLD, NEW})
        getattr(sound, verb)(NEW)
        assert set(sound.read().pins) == ({OLD, NEW} if verb == "add" else {OLD})
        assert not [name for name in names(volume) if name.startswith(UNFINISHED)]
    assert at > 2


def test_a_damaged_pin_is_written_anew_or_removed(tmp_path):
    volume = new_volume(tmp_path)
    pins = Pins(volume)
    path = f"{volume.layout.pins}/{NEW.name}"
    for mend, left in ((pins.add, (NEW,)), (pins.remove, ())):
        with open(path, "wb") as file:
            file.write(b"")
        mend(NEW)
        assert pins.read().pins == left
        pins.remove(NEW)


def test_who_was_overtaken_while_writing_has_lost_the_lease(tmp_path):
    volume = bare_volume(tmp_path, WatchedVolume)
    other = Pins(Volume(volume.layout))

    def overtake(verb, *paths):
        if verb == "replace":
            other.add(OLD)

    volume.before = overtake
    with pytest.raises(LeaseLost):
        Pins(volume).add(NEW)
    assert other.read().pins == (OLD,)
