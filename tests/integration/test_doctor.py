"""doctor as a command: each part reports by itself, and nothing is changed or started by looking."""

import os

import pytest
from harness.commands import call, place_in, write_config

SANE = {"operation": "60s", "session": "120s", "clock-margin": "10s"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """With a worker."""
    with place_in(tmp_path_factory.mktemp("doctor")) as place:
        place.config = place.configure(leases=SANE)
        place.worker()
        yield place


@pytest.fixture
def idle(tmp_path):
    """A Redis, and nothing that uses it."""
    with place_in(tmp_path) as place:
        place.config = place.configure(leases=SANE)
        yield place


def findings(fleet, **options):
    """{area: name} -> verdict of everything that is not well."""
    code, document = fleet.ask("doctor", **options)
    bad = {(one["area"], one["name"]): one for one in document["checks"] if one["verdict"] != "ok"}
    assert code == (3 if bad else 0)
    assert all(one["remedy"] for one in bad.values())
    assert document["trouble"] + document["warning"] == len(bad)
    return bad


def test_before_anything_runs_the_lack_of_workers_is_told_and_no_volume_is_made(idle):
    bad = findings(idle)
    assert bad["queue", "workers"]["found"] == "none answers"
    assert ("redis", "state") in bad
    assert not os.path.exists(idle.cachedir)
    with idle.valkey.client() as raw:
        assert raw.keys("caskeeper:*") == []
    tree = idle.tree("waits", {"file": b"1"})
    assert idle.run("commit", tree, "demo/waits/1", "--detach").returncode == 0
    assert findings(idle)["queue", "workers"]["found"] == "none answers; 1 job waiting"


def test_of_a_running_fleet_every_part_is_told(fleet):
    bad = findings(fleet)
    # What a fleet of tests lacks: a Redis that keeps its data, and a beat.
    assert set(bad) <= {("redis", "persistence"), ("queue", "beat"), ("volume", "file system")}
    assert {("redis", "persistence"), ("queue", "beat")} <= set(bad)
    assert not [name for name in os.listdir(f"{fleet.cachedir}/run") if "probe" in name]
    told = fleet.run("doctor")
    assert told.returncode == 3
    assert "-> set `appendonly yes`" in told.stdout
    assert "ok       volume: hard links" in told.stdout
    quiet = fleet.run("--quiet", "doctor").stdout
    assert "ok " not in quiet
    assert "appendonly" in quiet


def test_a_policy_that_drops_keys_is_trouble_and_everything_else_is_still_told(fleet):
    with fleet.valkey.client() as raw:
        raw.config_set("maxmemory-policy", "allkeys-lru")
        try:
            bad = findings(fleet)
        finally:
            raw.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in bad["redis", "maxmemory-policy"]["remedy"]
    assert not [name for area, name in bad if area == "volume" and name != "file system"]


def test_a_volume_that_is_not_mounted_is_trouble(fleet):
    elsewhere = fleet.configure("unmounted", cachedir=f"{fleet.folder}/nowhere", leases=SANE)
    assert findings(fleet, config=elsewhere)["volume", "mounted"]["verdict"] == "trouble"
    assert not os.path.exists(f"{fleet.folder}/nowhere")


def test_without_redis_the_volume_is_still_examined(fleet):
    dead = fleet.configure("dead", redis=f"unix://{fleet.folder}/none", leases=SANE)
    bad = findings(fleet, config=dead)
    assert bad["redis", "reachable"]["verdict"] == "trouble"
    assert not [name for area, name in bad if area == "volume" and name != "file system"]
    assert "volume: owner" in fleet.run("doctor", config=dead).stdout


def test_a_configuration_that_cannot_be_read_is_told_as_trouble(fleet):
    wrong = write_config(f"{fleet.folder}/wrong.yaml", cachedir=fleet.cachedir, nonsense=1)
    bad = findings(fleet, config=wrong)
    assert "nonsense" in bad["configuration", "file"]["found"]


def test_an_embedded_server_that_rests_is_not_started(tmp_path):
    config = write_config(f"{tmp_path}/alone.yaml", cachedir=f"{tmp_path}/cache")
    done = call("--config", config, "doctor")
    assert "redis: embedded" in done.stdout
    assert not os.path.exists(f"{tmp_path}/cache")
