"""A recovery that is itself overtaken: the folder it empties is another cleanup's by then."""

import os

import pytest
from harness.volumes import new_volume

from caskeeper.errors import LeaseLost
from worker.services.recovery import recover
from worker.store.closures import Closures
from worker.store.objects import Objects
from worker.store.refs import Refs
from worker.store.trash import Trash
from worker.store.volume import Volume


class Overtaken(Volume):
    """A third cleanup recovers what this one has just fenced."""

    def take(self, source, target):
        taken = super().take(source, target)
        os.rename(target, f"{self.layout.trashes}/third.recovers.x")
        return taken


def test_a_recovery_whose_folder_is_taken_by_a_third_cleanup_has_lost_the_lease(tmp_path):
    volume = new_volume(tmp_path, Overtaken)
    Trash(volume, "first").begin()
    second = Trash(volume, "second")
    second.begin()
    with pytest.raises(LeaseLost):
        recover(second, refs=Refs(volume), closures=Closures(volume), objects=Objects(volume))
