"""Runs that could not begin, were overtaken, or began too early; what a recount leaves to the next."""

import threading
from contextlib import ExitStack

import fakeredis
import pytest
from harness.coordination import fake_coordination
from harness.services import fake_services

from caskeeper.contract import ComputeSizeRequest
from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, LeaseLost, VolumeFailed
from worker.protocols import quiet
from worker.services import recount

PREFIX = "caskeeper:{volume-1}:"


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def raw(server):
    with fakeredis.FakeRedis(server=server, decode_responses=True) as raw:
        yield raw


@pytest.fixture
def services(tmp_path, server):
    services = fake_services(tmp_path, coordination=fake_coordination(server))
    yield services
    services.close()


@pytest.fixture
def maintenance(services):
    return services.maintenance


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


def test_a_run_whose_thread_cannot_be_started_leaves_the_lease_to_others(maintenance, monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"), run(maintenance):
            pytest.fail("nobody keeps its lease")
    assert maintenance.coordination.maintenance.holder() is None
    with run(maintenance) as next_one:
        next_one.check()


def test_i5_what_an_operation_leaves_that_ends_during_a_recount_is_recounted_by_the_next(
    services, monkeypatch
):
    scan = recount.used_bytes
    with ExitStack() as until_the_end:
        operation = until_the_end.enter_context(services.desk.writer("serve", "x", quiet()))
        operation.reserve(8_000_000)
        operation.in_use()

        def ends_meanwhile(volume):
            found = scan(volume)
            until_the_end.close()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(recount, "used_bytes", ends_meanwhile)
            services.run(ComputeSizeRequest(), quiet())
        assert services.coordination.usage.snapshot().reserved_bytes > 0
        assert services.upkeep_wanted() == ComputeSizeRequest(), "or nobody would ask what counts anew"
        services.run(ComputeSizeRequest(), quiet())
    assert services.coordination.usage.snapshot().reserved_bytes == 0
    assert services.upkeep_wanted() is None
