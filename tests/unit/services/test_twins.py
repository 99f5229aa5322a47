"""Executable twins go with their objects, by two looks of their own; where none is, none is looked for."""

from __future__ import annotations

import os

import pytest
from harness.volumes import new_volume

from caskeeper.errors import CaskeeperError
from worker.services.eviction import Evictor
from worker.store import taking
from worker.store.refs import Refs
from worker.store.trash import Trash

OLD_NS, HORIZON_NS, YOUNG_NS = 10**18, 2 * 10**18, 3 * 10**18
ONE, OTHER = "ab" * 32, "ab" + "cd" * 31


@pytest.fixture
def evictor(tmp_path):
    volume = new_volume(tmp_path)
    trash = Trash(volume, "cleanup-1")
    trash.begin()
    return Evictor(trash, Refs(volume), horizon_ns=HORIZON_NS)


def put(path, age_ns=OLD_NS):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"x")
    os.utime(path, ns=(age_ns, OLD_NS))
    return path


@pytest.mark.parametrize("names_kept", [0, 512])
def test_an_old_twin_goes_with_its_object(evictor, monkeypatch, names_kept):
    monkeypatch.setattr(taking, "_NAMES_KEPT", names_kept)
    layout, block = evictor.layout, evictor.volume.block_bytes
    there = [put(layout.object(ONE)), put(layout.object(OTHER)), put(layout.executable(ONE))]
    assert evictor.take_object(OTHER) == (block, False)
    assert evictor.take_object(ONE) == (2 * block, False)
    assert not any(map(os.path.lexists, there))
    evictor.trash.end()
    assert not os.path.lexists(evictor.trash.folder)


def test_a_young_twin_stays_and_is_told(evictor):
    put(evictor.layout.object(ONE))
    twin = put(evictor.layout.executable(ONE), YOUNG_NS)
    assert evictor.take_object(ONE) == (evictor.volume.block_bytes, True)
    assert os.path.lexists(twin)


def test_a_twin_that_came_after_the_folder_was_listed_stays(evictor):
    put(evictor.layout.object(ONE))
    evictor.take_object(OTHER)
    twin = put(evictor.layout.executable(ONE), YOUNG_NS)
    evictor.take_object(ONE)
    assert os.path.lexists(twin)


def test_a_folder_of_twins_that_cannot_be_listed_is_no_empty_one(evictor):
    put(evictor.layout.object(ONE))
    os.rmdir(f"{evictor.layout.executables}/ab")
    put(f"{evictor.layout.executables}/ab")
    with pytest.raises(CaskeeperError):
        evictor.take_object(ONE)
    assert os.path.lexists(evictor.layout.object(ONE))
