"""Redis lost its state, and nothing may be evicted yet: how long that is told, and what would go is too."""

import re

import pytest
from harness.fleet import fleet, write_tree

from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest, VerifyRequest
from caskeeper.errors import Busy
from worker.protocols import quiet
from worker.services.doctor_redis import look_at_redis

REF = "demo/hello/k1"


@pytest.fixture
def services(tmp_path, valkey):
    write_tree(tmp_path / "src", {"file": b"content"})
    with fleet(tmp_path, valkey.url) as made:
        made.run(CommitRequest(path=str(tmp_path / "src"), refs=(REF,)), quiet())
        yield made


@pytest.mark.parametrize("request_", [ComputeSizeRequest(), VerifyRequest(repair=True), CleanupRequest()])
def test_the_way_out_says_when(services, valkey, request_):
    with valkey.client() as raw:
        raw.flushall()
    services.maintenance.ensure_ready()
    with pytest.raises(Busy) as told:
        services.run(request_, quiet())
    assert re.fullmatch(r"try again in \d+ s", told.value.way_out)


def test_a_dry_run_is_answered_and_changes_nothing(services, valkey):
    with valkey.client() as raw:
        raw.flushall()
    services.maintenance.ensure_ready()
    result = services.run(CleanupRequest(dry_run=True), quiet())
    assert (result.dry_run, result.freed_bytes) == (True, 0)
    assert [line.ref for line in services.listing.list()] == [REF]


def test_a_database_that_forgot_its_volume_alone_is_told_so_and_upkeep_mends_it(services, valkey):
    volume_id = services.coordination.volume_id
    with valkey.client() as raw:
        raw.delete("caskeeper:volume")
    checks, facts = look_at_redis(valkey.url, volume_id)
    state = next(check for check in checks if check.name == "state")
    assert (facts.owner, state.verdict) == (None, "warning")
    assert "the key that says which volume" in state.found
    services.run(VerifyRequest(repair=True), quiet())
    _checks, facts = look_at_redis(valkey.url, volume_id)
    assert facts.owner == volume_id
