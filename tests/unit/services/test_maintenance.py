"""A run that was overtaken, and one that began in the waiting period after a loss of Redis."""

import fakeredis
import pytest
from harness.coordination import fake_coordination
from harness.services import fake_services

from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, LeaseLost, VolumeFailed

PREFIX = "caskeeper:{volume-1}:"


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def raw(server):
    with fakeredis.FakeRedis(server=server, decode_responses=True) as raw:
        yield raw


@pytest.fixture
def maintenance(tmp_path, server):
    services = fake_services(tmp_path, coordination=fake_coordination(server))
    yield services.maintenance
    services.close()


def run(maintenance):
    return maintenance.run("cleanup", check=lambda: None)


def meet(what_another_did):
    what_another_did()
    raise VolumeFailed("a ref is damaged")


def test_trouble_of_a_run_that_was_overtaken_is_a_lost_lease_and_no_damage(maintenance, raw):
    with pytest.raises(LeaseLost) as lost, run(maintenance):
        meet(lambda: raw.hset(f"{PREFIX}cleanup", "holder", "another"))
    assert isinstance(lost.value.__cause__, VolumeFailed)


def test_trouble_of_a_run_whose_epoch_is_over_is_a_lost_state(maintenance, raw):
    with pytest.raises(StateLost), run(maintenance):
        meet(lambda: raw.hset(f"{PREFIX}state", "epoch", "another"))


def test_trouble_of_a_run_that_still_has_its_lease_is_what_it_is(maintenance):
    with pytest.raises(VolumeFailed, match="a ref is damaged"), run(maintenance):
        meet(lambda: None)


def test_section_6_a_run_that_began_in_the_waiting_period_never_counts(maintenance, raw):
    raw.hset(f"{PREFIX}state", "evict_from_ms", str(2**52))
    with run(maintenance) as first:
        raw.hset(f"{PREFIX}state", "evict_from_ms", "0")
        with pytest.raises(Busy, match="Redis lost its state"):
            maintenance.refuse_while_waiting(first)
    with run(maintenance) as second:
        maintenance.refuse_while_waiting(second)
