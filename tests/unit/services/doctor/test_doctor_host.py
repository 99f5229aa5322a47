"""Limits of the process and faults of the configuration are found; without Redis the rest is told."""

import resource
from dataclasses import replace

import pytest
from harness.examined import bad, said, settings_of
from harness.services import SMALL_CACHE
from harness.volumes import bare_volume

from caskeeper.config import LeaseSettings, QuotaExpression, Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.errors import CoordinatorUnavailable
from worker.services import doctor, doctor_host, doctor_redis
from worker.services.doctor_host import look_at_configuration, look_at_process


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
