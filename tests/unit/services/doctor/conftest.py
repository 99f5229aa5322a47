"""A volume on a file system that a doctor likes."""

import pytest
from harness.volumes import new_volume

from worker.services import doctor_volume
from worker.store.fitness import Mount


@pytest.fixture
def volume(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_volume, "mount_of", lambda _path: Mount("ext4", frozenset({"rw"})))
    made = new_volume(tmp_path)
    made.touch(made.layout.format)
    return made
