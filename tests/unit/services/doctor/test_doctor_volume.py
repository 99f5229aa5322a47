"""Each thing that may be wrong with a volume is found, with a remedy, and nothing where all is well."""

import os
import stat
import time
from dataclasses import replace

import pytest
from harness.examined import GOOD, READY, bad, facts_of, said, settings_of
from harness.services import SMALL_CACHE

from caskeeper.config import QuotaExpression, Settings
from worker.services import doctor_volume
from worker.services.doctor_volume import look_at_volume
from worker.store import fitness, system_calls
from worker.store.coordinator import Coordinator, write_coordinator
from worker.store.fitness import Mount, mount_of
from worker.store.format import find_format
from worker.store.volume import Space, Volume


def test_a_good_volume_is_well_and_nothing_is_left_on_it(volume):
    before = sorted(os.listdir(volume.layout.root))
    checks = look_at_volume(settings_of(volume), facts_of(volume))
    assert bad(checks) == {}
    assert {"FORMAT", "Redis", "owner", "space", "times", "clock", "renames", "hard links", "pins"} <= {
        check.name for check in checks
    }
    assert os.listdir(volume.layout.run) == []
    assert sorted(os.listdir(volume.layout.root)) == before


def test_looking_does_not_touch_what_the_clock_is_compared_with(volume):
    age = os.lstat(volume.layout.format).st_atime_ns
    look_at_volume(settings_of(volume), None)
    assert os.lstat(volume.layout.format).st_atime_ns == age


def test_a_volume_that_does_not_exist_is_well_unless_redis_knows_one(tmp_path):
    settings = Settings(cachedir=f"{tmp_path}/nowhere")
    assert bad(look_at_volume(settings, None)) == {}
    assert bad(look_at_volume(settings, GOOD._replace(owner=None, state=None))) == {}
    assert bad(look_at_volume(settings, GOOD)) == {"mounted": "trouble"}
    assert not os.path.exists(settings.cachedir)


@pytest.mark.parametrize("content", [b"junk", b'{"version": 99}'])
def test_a_format_that_cannot_be_read_is_told_with_its_way_out(volume, content):
    os.chmod(volume.layout.format, 0o644)
    with open(volume.layout.format, "wb") as file:
        file.write(content)
    assert bad(look_at_volume(settings_of(volume), None)) == {"FORMAT": "trouble"}


def test_the_redis_of_another_volume_and_a_second_database_are_found(volume):
    settings = settings_of(volume)
    assert bad(look_at_volume(settings, GOOD)) == {"Redis": "trouble"}
    write_coordinator(volume, Coordinator("another epoch", "redis://other/0"))
    checks = look_at_volume(settings, facts_of(volume))
    assert bad(checks) == {"Redis": "trouble"}
    assert "redis://other/0" in said(checks, "Redis")
    lost = READY._replace(lost=True, ready=False)
    assert bad(look_at_volume(settings, facts_of(volume, state=lost))) == {}, "a loss explains it"


def test_another_user_and_strange_files_are_found(volume, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: find_format(volume.layout).uid + 1)
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks)["owner"] == "trouble"
    assert f"as uid {find_format(volume.layout).uid}" in said(checks, "owner")
    monkeypatch.undo()
    with open(f"{volume.layout.objects}/ab/cdef", "wb"):
        pass
    real = os.lstat

    def lstat(path, **options):
        found = real(path, **options)
        values = list(found)
        values[stat.ST_UID] += 1 if str(path).endswith("/cdef") else 0
        return os.stat_result(values)

    monkeypatch.setattr(doctor_volume.os, "lstat", lstat)
    assert bad(look_at_volume(settings_of(volume), None)) == {"owner": "trouble"}


def test_a_folder_of_the_layout_that_is_gone_is_found(volume):
    os.rmdir(volume.layout.trashes)
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks) == {"owner": "trouble"}
    assert volume.layout.trashes in said(checks, "owner")


@pytest.mark.parametrize(
    ("available", "inodes", "found"),
    [
        (1000, 900, {"space": "warning"}),
        (10**9, 15, {"inodes": "warning"}),
        (10**9, 5, {"inodes": "warning"}),
        (10**9, 900, {}),
    ],
)
def test_want_of_space_and_of_inodes_is_found(volume, monkeypatch, available, inodes, found):
    monkeypatch.setattr(Volume, "space", lambda _: Space(10**9, available, 1000, inodes))
    reserving = replace(SMALL_CACHE, reserved_disk_space=QuotaExpression("5%"))
    settings = replace(settings_of(volume), cache=reserving)
    assert bad(look_at_volume(settings, None)) == found


def test_a_file_system_without_inodes_to_count_lacks_none(volume, monkeypatch):
    monkeypatch.setattr(Volume, "space", lambda _: Space(10**9, 10**9, 0, 0))
    assert bad(look_at_volume(settings_of(volume), None)) == {}


def test_refused_hard_links_are_found(volume, monkeypatch):
    monkeypatch.setattr(Volume, "link", lambda *_: False)
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks) == {"hard links": "warning"}
    assert "copy" in said(checks, "hard links")


def test_a_file_system_that_may_replace_is_found(volume, monkeypatch):
    monkeypatch.setattr(system_calls, "HAS_RENAMEAT2", False)
    assert bad(look_at_volume(settings_of(volume), None)) == {"renames": "warning"}

    def replaces(_volume, source, target):
        os.replace(source, target)
        return True

    monkeypatch.setattr(Volume, "publish", replaces)
    assert bad(look_at_volume(settings_of(volume), None)) == {"times and renames": "trouble"}
    assert os.listdir(volume.layout.run) == []


def test_whole_seconds_are_found(volume, monkeypatch):
    def whole(path):
        os.utime(path, (int(time.time()), os.stat(path).st_mtime))
        return True

    monkeypatch.setattr(system_calls, "touch", whole)
    assert bad(look_at_volume(settings_of(volume), None)) == {"times and renames": "trouble"}


@pytest.mark.parametrize(("ahead_s", "verdict"), [(3600, "trouble"), (-3600, None)])
def test_a_clock_that_went_back_is_found(volume, ahead_s, verdict):
    later = time.time_ns() + ahead_s * 10**9
    os.utime(volume.layout.format, ns=(later, os.stat(volume.layout.format).st_mtime_ns))
    assert bad(look_at_volume(settings_of(volume), None)).get("clock") == verdict


def test_a_clock_of_the_volume_that_is_not_this_hosts_is_found(volume, monkeypatch):
    real = time.time_ns
    monkeypatch.setattr(doctor_volume.time, "time_ns", lambda: real() + 60 * 10**9)
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks) == {"clock": "warning"}
    assert "60 s behind" in said(checks, "clock")


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        (Mount("ext4", frozenset({"rw", "noatime"})), {}),
        (Mount("ext4", frozenset({"ro"})), {"file system": "trouble"}),
        (Mount("nfs4", frozenset({"rw"})), {"file system": "warning"}),
        (Mount("fuse.sshfs", frozenset({"rw"})), {"file system": "warning"}),
        (None, {}),
    ],
)
def test_how_it_is_mounted_is_judged(volume, monkeypatch, mount, found):
    monkeypatch.setattr(doctor_volume, "mount_of", lambda _path: mount)
    assert bad(look_at_volume(settings_of(volume), None)) == found


def test_the_most_links_of_a_known_file_system_are_told(volume):
    assert "65,000" in said(look_at_volume(settings_of(volume), None), "hard links")


def test_a_pin_that_cannot_be_read_is_found(volume):
    with open(f"{volume.layout.pins}/{'0' * 64}", "wb") as file:
        file.write(b"junk")
    assert bad(look_at_volume(settings_of(volume), None)) == {"pins": "trouble"}


def test_a_volume_that_cannot_be_written_is_found(volume, monkeypatch):
    def refused(_volume, path):
        raise fitness.failure(PermissionError(13, "refused"), path)

    monkeypatch.setattr(Volume, "make_folders", refused)
    assert bad(look_at_volume(settings_of(volume), None)) == {"file system": "trouble"}


def test_the_deepest_and_latest_mount_counts(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime - ext4 /dev/a rw\n"
        "2 1 0:5 / /data rw,noatime shared:2 - xfs /dev/b rw\n"
        "3 1 0:6 / /data/with\\040space rw - nfs4 host:/x rw,vers=4\n"
        "4 1 0:7 / /data rw,strictatime - btrfs /dev/c rw\n"
    )
    assert mount_of("/etc", table=str(table)).kind == "ext4"
    assert mount_of("/data/deep", table=str(table)) == Mount("btrfs", frozenset({"rw", "strictatime"}))
    assert mount_of("/database", table=str(table)).kind == "ext4"
    network = mount_of("/data/with space/cache", table=str(table))
    assert (network.kind, network.is_network) == ("nfs4", True)
    assert mount_of("/etc", table=f"{tmp_path}/none") is None


def test_strangers_among_the_refs_and_unreadable_records_are_found_with_the_command_that_names_them(volume):
    os.makedirs(f"{volume.layout.refs}/p/e")
    os.symlink("/etc", f"{volume.layout.refs}/p/etc")
    with open(f"{volume.layout.refs}/p/e/k", "wb") as file:
        file.write(b"junk")
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks) == {"refs": "trouble"}
    for part in ("p/etc is no ref", "ref p/e/k cannot be read", "nothing is deleted", "caskeeper verify"):
        assert part in said(checks, "refs")
