"""What is told of the fleet while a part of it hangs, fails, or is at fault."""

import threading
from types import SimpleNamespace

import pytest

from caskeeper.broker import lane_queues
from caskeeper.errors import Busy, CoordinatorUnavailable
from tasks import facts as module
from tasks.facts import Facts


class Queue:
    trouble = None

    def lengths(self):
        if self.trouble:
            raise self.trouble
        return dict.fromkeys(lane_queues(), 2)

    def taken(self):
        return 1


STATUS = {
    "ready": True, "size_known": True, "used_bytes": 5, "reserved_bytes": 0, "quota_bytes": 9,
    "cleanup_above_bytes": 8, "disk_total_bytes": 9, "disk_available_bytes": 9, "disk_reserved_bytes": 0,
    "inodes_total": 0, "inodes_free": 0, "waiting_s": 0, "cleanup_wanted": None, "maintenance": None,
    "sessions": (), "operations": (),
}  # fmt: skip


class Services:
    def __init__(self, folder):
        self.layout = SimpleNamespace(format=folder)
        self.coordination = SimpleNamespace(
            stats=SimpleNamespace(read=dict), breakers=SimpleNamespace(read=lambda: ())
        )
        self.protected_bytes = lambda: 3

    def status(self):
        return SimpleNamespace(**STATUS)


@pytest.fixture
def services(tmp_path):
    return Services(str(tmp_path))


@pytest.fixture
def facts(services):
    made = Facts(lambda: services, Queue())
    yield made
    made.close()


def told(facts):
    return {one.name: one.value for one in facts.samples}


def look(facts):
    facts.look_at_redis()
    facts.look_at_volume()
    facts.look_at_protected()


def test_what_was_seen_is_told(facts):
    assert facts.trouble == "nothing was looked at yet"
    look(facts)
    found = told(facts)
    assert (found["caskeeper_redis_up"], found["caskeeper_volume_up"], facts.trouble) == (1, 1, "")
    assert found["caskeeper_queue_backlog"] == 9
    assert found["caskeeper_used_bytes"] == 5
    assert found["caskeeper_protected_bytes"] == 3


def test_a_volume_that_hangs_is_not_taken_for_redis(facts, monkeypatch):
    look(facts)
    monkeypatch.setattr(module, "OLD_S", 0.0)
    assert facts.trouble == "Redis does not answer"
    facts._redis = facts._redis._replace(at=float("inf"))
    assert facts.trouble == "the volume does not answer"
    found = told(facts)
    assert (found["caskeeper_redis_up"], found["caskeeper_volume_up"]) == (1, 0)
    assert found["caskeeper_queue_backlog"] == 9
    assert "caskeeper_used_bytes" not in found


def test_a_long_walk_through_what_is_protected_keeps_nothing_else(facts, services):
    go_on, begun = threading.Event(), threading.Event()

    def walk():
        begun.set()
        go_on.wait(30)
        return 7

    services.protected_bytes = walk
    facts.look_at_redis()
    facts.look_at_volume()
    facts.start(every_s=0.01)
    assert begun.wait(30)
    before = facts._volume.at
    while facts._volume.at == before:
        begun.wait(0.01)
    assert facts.trouble == ""
    assert "caskeeper_protected_bytes" not in told(facts)
    go_on.set()


def test_what_is_protected_may_be_unknown_without_anything_being_wrong(facts, services):
    services.protected_bytes = lambda: (_ for _ in ()).throw(Busy("the state is lost", "x"))
    look(facts)
    assert facts.trouble == ""
    assert "caskeeper_protected_bytes" not in told(facts)


def test_while_redis_is_away_nothing_old_is_told_of_it(facts):
    look(facts)
    facts._queue.trouble = CoordinatorUnavailable("refused", "redis")
    facts.look_at_redis()
    assert facts.queued is None
    assert "refused" in facts.trouble
    found = told(facts)
    assert found["caskeeper_redis_up"] == 0
    assert "caskeeper_queue_backlog" not in found


def test_a_fault_of_ours_ends_no_watch_and_is_in_the_log_once(facts, services, caplog):
    services.status = dict
    for _ in range(3):
        look(facts)
    assert "a fault of caskeeper" in facts.trouble
    assert told(facts)["caskeeper_volume_up"] == 0
    assert [record.getMessage() for record in caplog.records] == ["could not look"]
    assert caplog.records[0].exc_info
