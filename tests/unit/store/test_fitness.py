import os
import time

import pytest
from harness.volumes import new_volume

from caskeeper.errors import ConfigInvalid, PermissionDenied, VolumeFailed
from worker.store.fitness import accept, check_file_system, check_owner
from worker.store.format import find_format
from worker.store.volume import Volume


def test_a_good_volume_is_accepted_and_nothing_is_left_on_it(tmp_path):
    volume = new_volume(tmp_path)
    accept(volume, find_format(volume.layout))
    assert os.listdir(volume.layout.run) == []


def test_all_hosts_round_as_format_says(tmp_path):
    volume = new_volume(tmp_path)
    accept(volume, find_format(volume.layout)._replace(block_bytes=65536))
    assert volume.charge(1) == 65536


def test_another_user_is_refused_and_told_which_one_to_be(tmp_path):
    volume = new_volume(tmp_path)
    found = find_format(volume.layout)
    with pytest.raises(PermissionDenied, match=f"as uid {found.uid + 1}"):
        check_owner(found._replace(uid=found.uid + 1), volume.layout.format)


def test_a_file_system_that_replaces_is_refused(tmp_path):
    class Replacing(Volume):
        def publish(self, source, target):
            os.replace(source, target)
            return True

    volume = new_volume(tmp_path, Replacing)
    with pytest.raises(ConfigInvalid, match="replaces"):
        check_file_system(volume)
    assert os.listdir(volume.layout.run) == []


def test_a_file_system_with_whole_seconds_is_refused(tmp_path):
    class Coarse(Volume):
        def touch(self, path):
            os.utime(path, (int(time.time()), os.stat(path).st_mtime))
            return True

    with pytest.raises(ConfigInvalid, match="times"):
        check_file_system(new_volume(tmp_path, Coarse))


def test_a_file_system_that_changes_the_modification_time_is_refused(tmp_path):
    class Changing(Volume):
        def touch(self, path):
            os.utime(path)
            return True

    with pytest.raises(ConfigInvalid, match="times"):
        check_file_system(new_volume(tmp_path, Changing))


def test_a_clock_behind_what_an_earlier_start_saw_is_refused(tmp_path):
    volume = new_volume(tmp_path)
    ahead = time.time() + 3600
    os.utime(volume.layout.format, (ahead, ahead))
    with pytest.raises(VolumeFailed, match="clock"):
        accept(volume, find_format(volume.layout))
    accept(volume, find_format(volume.layout), clock_margin_s=7200)


def test_a_start_remembers_the_time_it_saw(tmp_path):
    volume = new_volume(tmp_path)
    os.utime(volume.layout.format, (1, 1))
    accept(volume, find_format(volume.layout))
    assert os.stat(volume.layout.format).st_atime > 1
