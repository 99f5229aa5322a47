"""Each thing that may be wrong is found, with a remedy, and nothing is found where all is well."""

import os
import resource
import stat
import time
from dataclasses import replace

import pytest
from harness.services import SMALL_CACHE
from harness.volumes import bare_volume, new_volume

from caskeeper.config import LeaseSettings, QuotaExpression, Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.coordination import State
from caskeeper.coordination.examination import RedisFacts
from caskeeper.errors import CoordinatorUnavailable
from worker.services import doctor, doctor_host, doctor_redis, doctor_volume
from worker.services.doctor_host import look_at_configuration, look_at_process
from worker.services.doctor_redis import look_at_redis
from worker.services.doctor_volume import look_at_volume
from worker.store import fitness, system_calls
from worker.store.coordinator import Coordinator, write_coordinator
from worker.store.fitness import Mount, mount_of
from worker.store.format import find_format
from worker.store.volume import Space, Volume

READY = State(epoch="e", lost=False, ready=True, known=True, evict_from_ms=0, now_ms=1)
GOOD = RedisFacts(
    version="valkey 9",
    role="master",
    policy="noeviction",
    memory_limit=0,
    memory_used=1000,
    appends=True,
    saves=False,
    save_failed="",
    clock_ahead_s=0.0,
    owner="v",
    state=READY,
)


def bad(checks):
    """The names of what is not well; each comes with what to do."""
    found = {check.name: check.verdict for check in checks if check.verdict != "ok"}
    assert all(check.remedy for check in checks if check.verdict != "ok")
    assert not any(check.remedy for check in checks if check.verdict == "ok")
    return found


def said(checks, name):
    return next(f"{check.found} -> {check.remedy}" for check in checks if check.name == name)


# -- Redis -------------------------------------------------------------------------------------------


def redis_checks(monkeypatch, facts):
    monkeypatch.setattr(doctor_redis, "examine_redis", lambda _url, _volume_id=None: facts)
    return look_at_redis("redis://user:secret@host/1")[0]


def test_a_good_redis_is_well_and_its_password_is_not_shown(monkeypatch):
    checks = redis_checks(monkeypatch, GOOD)
    assert bad(checks) == {}
    assert said(checks, "reachable").startswith("redis://host/1: valkey 9")


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"role": "slave"}, "role", "trouble"),
        ({"policy": "allkeys-lru"}, "maxmemory-policy", "trouble"),
        ({"memory_limit": 1000}, "memory", "trouble"),
        ({"memory_limit": 1100}, "memory", "warning"),
        ({"save_failed": "rdb last bgsave"}, "persistence", "trouble"),
        ({"appends": False}, "persistence", "warning"),
        ({"clock_ahead_s": 7.0}, "clock", "warning"),
        ({"clock_ahead_s": -7.0}, "clock", "warning"),
        ({"owner": None, "state": None}, "state", "warning"),
        ({"state": READY._replace(epoch=None)}, "state", "warning"),
        ({"state": READY._replace(lost=True, ready=False, known=False)}, "state", "warning"),
        ({"state": READY._replace(ready=False, known=False)}, "state", "warning"),
        ({"state": READY._replace(evict_from_ms=60_001)}, "state", "warning"),
        ({"state": READY._replace(known=False)}, "state", "warning"),
    ],
)
def test_each_fault_of_redis_is_found_alone(monkeypatch, change, name, verdict):
    assert bad(redis_checks(monkeypatch, GOOD._replace(**change))) == {name: verdict}


@pytest.mark.parametrize("change", [{"memory_limit": 10**9}, {"appends": False, "saves": True}])
def test_what_is_set_well_is_no_finding(monkeypatch, change):
    assert bad(redis_checks(monkeypatch, GOOD._replace(**change))) == {}


def test_a_server_that_does_not_tell_its_configuration_is_not_accused(monkeypatch):
    checks = redis_checks(monkeypatch, GOOD._replace(appends=False, saves=None))
    assert bad(checks) == {}
    assert "does not tell" in said(checks, "persistence")


def test_the_wait_after_a_loss_is_told_in_seconds(monkeypatch):
    checks = redis_checks(monkeypatch, GOOD._replace(state=READY._replace(evict_from_ms=60_001)))
    assert "60 s more" in said(checks, "state")


# -- the volume --------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_volume, "mount_of", lambda _path: Mount("ext4", frozenset({"rw"})))
    made = new_volume(tmp_path)
    made.touch(made.layout.format)
    return made


def settings_of(volume, **more):
    return Settings(cachedir=volume.layout.root, cache=SMALL_CACHE, **more)


def facts_of(volume, **more):
    return GOOD._replace(owner=find_format(volume.layout).volume_id, **more)


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


# -- where a path lies ------------------------------------------------------------------------------


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


# -- this process and the configuration -------------------------------------------------------------


def test_limits_of_the_process_are_found(monkeypatch):
    limits = {resource.RLIMIT_NOFILE: 1024, resource.RLIMIT_CPU: -1, resource.RLIMIT_FSIZE: -1}
    monkeypatch.setattr(doctor_host.resource, "getrlimit", lambda which: (limits[which], -1))
    monkeypatch.setattr(doctor_host, "process_umask", lambda: 0o022)
    assert bad(look_at_process()) == {}
    limits.update({resource.RLIMIT_NOFILE: 256, resource.RLIMIT_CPU: 60, resource.RLIMIT_FSIZE: 10**6})
    assert bad(look_at_process()) == {
        "open files": "warning",
        "processor time": "warning",
        "file size": "warning",
    }
    limits[resource.RLIMIT_NOFILE] = resource.RLIM_INFINITY
    monkeypatch.setattr(doctor_host, "process_umask", lambda: 0o277)
    assert bad(look_at_process())["umask"] == "trouble"


@pytest.mark.parametrize(
    "lease",
    [
        {"operation_s": 1.0},
        {"operation_life_s": 60.0},
        {"session_s": 1.0},
        {"clock_margin_s": 0.0},
        {"upload_grace_s": 30.0},
    ],
)
def test_leases_that_cannot_hold_are_found(tmp_path, lease):
    settings = Settings(cachedir=str(tmp_path), cache=SMALL_CACHE, leases=LeaseSettings(**lease))
    assert bad(look_at_configuration(settings)) == {"leases": "warning"}


def test_a_good_configuration_is_well(tmp_path):
    named = tmp_path / "cert"
    named.write_text("")
    settings = Settings(
        cachedir=f"{tmp_path}/not/made/yet",
        cache=SMALL_CACHE,
        roots=(str(tmp_path),),
        artifacts=(RemoteSpec("https://a", server_cert=str(named)),),
    )
    assert bad(look_at_configuration(settings)) == {}


def test_faults_of_the_configuration_are_found(tmp_path):
    store = RemoteSpec("https://storage", client_key="keys/own")
    settings = Settings(
        cachedir=str(tmp_path),
        cache=replace(SMALL_CACHE, quota=QuotaExpression("1K"), modern=False, headroom_bytes=None),
        roots=(str(tmp_path), f"{tmp_path}/gone"),
        artifacts=(RemoteSpec("https://index", storages=(store,)),),
    )
    checks = look_at_configuration(settings)
    assert bad(checks) == {"quota": "trouble", "roots": "warning", "remotes": "warning"}
    assert "keys/own" in said(checks, "remotes")
    absent = replace(settings, artifacts=(), projects={"p": (replace(store, client_key="/no/such"),)})
    assert bad(look_at_configuration(absent))["remotes"] == "trouble"


# -- all of it --------------------------------------------------------------------------------------


def test_without_redis_the_rest_is_reported(tmp_path, monkeypatch):
    volume = bare_volume(tmp_path)

    def away(_url, _volume_id=None):
        raise CoordinatorUnavailable("connection refused", "redis://host")

    monkeypatch.setattr(doctor_redis, "examine_redis", away)
    checks = list(doctor.examine(settings_of(volume), redis_url="redis://host"))
    assert {check.area for check in checks} == {"process", "configuration", "redis", "volume"}
    assert bad([check for check in checks if check.area == "redis"]) == {"reachable": "trouble"}
    resting = list(doctor.examine(settings_of(volume), redis_url=None))
    assert bad([check for check in resting if check.area in {"redis", "volume"}]) == {}


def test_strangers_among_the_refs_and_unreadable_records_are_found_with_the_command_that_names_them(volume):
    os.makedirs(f"{volume.layout.refs}/p/e")
    os.symlink("/etc", f"{volume.layout.refs}/p/etc")
    with open(f"{volume.layout.refs}/p/e/k", "wb") as file:
        file.write(b"junk")
    checks = look_at_volume(settings_of(volume), None)
    assert bad(checks) == {"refs": "trouble"}
    for part in ("p/etc is no ref", "ref p/e/k cannot be read", "nothing is deleted", "caskeeper verify"):
        assert part in said(checks, "refs")
