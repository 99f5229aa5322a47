"""A beat sends only while it leads, and goes on where the last leader left the schedule."""

from dataclasses import replace

import fakeredis
import pytest
from harness.coordination import FakeConnection

from caskeeper.config import LeaseSettings, Settings
from caskeeper.coordination.leader import Leader
from caskeeper.errors import CoordinatorUnavailable
from tasks import schedule
from tasks.beat import LeadingScheduler
from tasks.celery_app import make_app

FOREVER, OVER = LeaseSettings(), replace(LeaseSettings(), operation_s=0.0)
APP = make_app(Settings(cachedir="/nonexistent"), "redis://127.0.0.1:1/0")


class Beat(LeadingScheduler):
    def __init__(self, server, leases=FOREVER):
        self.leader = Leader(FakeConnection(server), leases)
        self.sent = []
        super().__init__(APP, lazy=False)

    @property
    def producer(self):
        return None

    def send_task(self, name, *_arguments, **_options):
        self.sent.append(name)

    def ticks(self, count=4):
        for _ in range(count):
            pause_s = self.tick()
        return pause_s


@pytest.fixture
def server():
    return fakeredis.FakeServer()


def make_due(server, *names):
    """As if each had been sent long ago."""
    with fakeredis.FakeRedis(server=server, decode_responses=True) as raw:
        for name in names:
            raw.hincrby("caskeeper:leader", f"sent:{name}", -2 * 86_400_000)


def test_a_new_schedule_waits_for_its_own_time(server):
    beat = Beat(server)
    beat.ticks()
    assert beat.sent == []


def test_who_takes_over_sends_at_once_what_the_last_leader_left_due_and_nothing_else(server):
    Beat(server, OVER).ticks()
    make_due(server, "sweep", "recount")
    beat = Beat(server)
    beat.ticks()
    assert sorted(beat.sent) == ["cache.compute_size", "cache.verify"]
    beat.ticks()
    assert len(beat.sent) == 2, "each once"
    beat.close()
    after = Beat(server)
    after.ticks()
    assert after.sent == [], "it was written down that they were sent"


def test_who_stands_by_sends_nothing_and_looks_again_soon_enough(server):
    leader, other = Beat(server), Beat(server)
    leader.ticks()
    make_due(server, *schedule.entries())
    other._heap = None
    assert other.ticks() == other.leader.look_s
    assert other.sent == []
    assert leader.leader.lease_s + leader.leader.look_s <= FOREVER.operation_s


def test_one_that_ends_hands_over_at_once_and_one_that_stood_by_takes_nothing_away(server):
    leader, other = Beat(server), Beat(server)
    leader.ticks()
    other.ticks()
    other.close()
    assert leader.leader.leads() == leader.leader.host
    leader.close()
    assert leader.leader.leads() == ""


def test_a_leader_that_was_followed_while_it_was_paused_stops(server):
    first = Beat(server, OVER)
    first.ticks()
    second = Beat(server)
    second.ticks()
    make_due(server, *schedule.entries())
    first._heap = None
    assert first.ticks() == first.leader.look_s
    assert first.sent == []


def test_without_redis_nobody_leads_and_the_schedule_goes_on_afterwards(server):
    beat = Beat(server)
    server.connected = False
    with pytest.raises(CoordinatorUnavailable):
        beat.leader.take()
    assert beat.ticks() == beat.leader.look_s
    server.connected = True
    beat.ticks()
    assert beat.leader.leads()
    server.connected = False
    beat.close()


def test_the_whole_store_is_hashed_within_about_a_month():
    found = schedule.entries()["sweep"]
    assert found["schedule"] == 86400
    assert found["kwargs"]["repair"]
    assert found["kwargs"]["sample"] == 4.0
    assert found["options"]["expires"] <= found["schedule"]
