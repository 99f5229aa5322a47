"""Each thing that may be wrong with Redis is found, with a remedy, and nothing where all is well."""

import pytest
from harness.examined import GOOD, READY, bad, said

from worker.services import doctor_redis
from worker.services.doctor_redis import look_at_redis


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
