"""Whether a cleanup could make room is told before a write fails for it."""

import os

import pytest
from harness.examined import bad, said
from harness.fleet import fleet
from harness.quotas import KIB, commit

from worker.protocols import quiet
from worker.services import doctor_room
from worker.services.doctor_room import look_at_room


@pytest.fixture
def services(tmp_path, valkey):
    """Three artifacts of 300K in a quota of which they take 95 percent."""
    with fleet(tmp_path, valkey.url, quota="980K") as made:
        for number in range(3):
            commit(made, tmp_path, f"p/e{number}/k{number}", 300 * KIB)
        yield made


def protect(services):
    services.pins.pin(["p/e0/*"], quiet())
    services.coordination.sessions.open("build-1", label="nightly", life_s=60)
    services.coordination.sessions.require("build-1", ["k1"])


def test_what_can_go_is_well_however_full_it_is(services, valkey):
    checks = look_at_room(services.settings, valkey.url)
    assert bad(checks) == {}
    assert "a cleanup makes room" in said(checks, "room")


def test_pins_and_sessions_that_keep_a_cleanup_from_its_target_are_named_with_what_would_help(
    services, valkey
):
    protect(services)
    before = {path: os.lstat(path).st_atime_ns for path in every_file(services)}
    checks = look_at_room(services.settings, valkey.url)
    assert bad(checks) == {"room": "warning"}
    told = said(checks, "room")
    assert "pin p/e0/* keeps 1 artifact of 30" in told
    assert "session build-1 (nightly) requires 1 artifact of 30" in told
    for way in ("`caskeeper unpin 'p/e0/*'`", "`caskeeper session close ID`", "raise `cache: quota` in"):
        assert way in told
    assert {path: os.lstat(path).st_atime_ns for path in every_file(services)} == before


def every_file(services):
    return [
        f"{above}/{name}"
        for above, _folders, files in os.walk(f"{services.layout.root}/cas")
        for name in files
    ]


def test_a_cache_with_much_room_is_not_looked_through(services, valkey, tmp_path, monkeypatch):
    protect(services)
    monkeypatch.setattr(doctor_room, "find_held", None)
    with fleet(tmp_path, valkey.url, quota="2M") as large:
        checks = look_at_room(large.settings, valkey.url)
    assert bad(checks) == {}
    assert "of the quota 2M are used, 4" in said(checks, "room")


def test_the_look_is_bounded_and_says_so(services, valkey, monkeypatch):
    protect(services)
    monkeypatch.setattr(doctor_room, "_LISTS", 1)
    checks = look_at_room(services.settings, valkey.url)
    assert bad(checks) == {}
    assert "or more" in said(checks, "room")
