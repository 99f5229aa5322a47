"""What delivery needs (queue.md 2.3), what one does for all, and the hint that orders evictions."""

import time

import pytest

from caskeeper.coordination.flights import HeldKeys


def test_one_at_a_time_sees_to_what_is_done_once_for_all(place):
    flights = place.create().flights
    assert flights.take("wish", "a", ttl_s=60)
    assert 0 < place.raw.pttl(place.prefix + "once:wish") <= 60_000
    assert not flights.take("wish", "b", ttl_s=60)
    assert flights.take("wish", "a", ttl_s=60), "the same token may take it again"
    assert not flights.release("wish", "b")
    assert flights.release("wish", "a")
    assert not flights.release("wish", "a")
    assert flights.take("wish", "b", ttl_s=60)


def beat(place, number, messages, *, answered):
    keys = HeldKeys("unacked_index", "unacked")
    return place.create().flights.beat("worker", number, messages, answered=answered, transport=keys)


def test_a_heartbeat_moves_the_messages_that_are_there_and_brings_none_back(place):
    place.raw.zadd("unacked_index", {"held": 1.0, "other": 2.0})
    before = time.time()
    beat(place, 1, {"held": "[1]", "acknowledged": "[2]"}, answered=0)
    beat(place, 2, {"held": "[1]", "acknowledged": "[2]"}, answered=1)
    assert before <= place.raw.zscore("unacked_index", "held") <= time.time()
    assert place.raw.zscore("unacked_index", "other") == 2.0
    assert place.raw.zscore("unacked_index", "acknowledged") is None


def test_a_heartbeat_without_messages_touches_none(place):
    assert beat(place, 1, {}, answered=0) == 0
    assert not place.raw.exists("unacked_index", "unacked")
    assert 0 < place.raw.ttl(place.prefix + "beat:worker") <= 86_400


@pytest.mark.parametrize("loss", ["emptied", "older", "another type"])
def test_a_heartbeat_stores_again_what_redis_has_lost_since_the_last_one(place, loss):
    beat(place, 1, {"kept": "[1]"}, answered=0)
    beat(place, 2, {"kept": "[1]"}, answered=1)
    place.raw.hset("unacked", "kept", "[1]")
    place.raw.zadd("unacked_index", {"kept": 1.0})
    key = place.prefix + "beat:worker"
    place.raw.delete(key)
    if loss == "older":
        place.raw.set(key, 1)
    elif loss == "another type":
        place.raw.lpush(key, "x")
    assert beat(place, 3, {"kept": "[other]", "lost": "[2]"}, answered=2) == 1
    assert place.raw.hgetall("unacked") == {"kept": "[1]", "lost": "[2]"}
    assert min(place.raw.zscore("unacked_index", tag) for tag in ("kept", "lost")) > 1.0
    assert beat(place, 4, {"lost": "[2]", "acknowledged": "[3]"}, answered=3) == 0
    assert not place.raw.hexists("unacked", "acknowledged")


def test_recency_is_redis_time_of_the_last_touch(place):
    coordination = place.create()
    before = coordination.now_ms()
    coordination.recency.touch(["p/e/a", "p/e/b"])
    a, nothing, b = coordination.recency.scores(["p/e/a", "p/e/x", "p/e/b"])
    assert nothing is None
    assert before <= a == b <= coordination.now_ms()
    coordination.recency.forget(["p/e/a"])
    assert coordination.recency.scores(["p/e/a", "p/e/b"]) == [None, b]


def test_recency_of_many_refs_comes_in_order(place):
    recency = place.create().recency
    refs = [f"p/e/{n}" for n in range(10_001)]
    recency.touch(refs[::2])
    scores = recency.scores(refs)
    assert [score is None for score in scores] == [n % 2 == 1 for n in range(10_001)]
    recency.forget(refs)
    assert recency.scores([]) == []
    assert not place.raw.exists(place.prefix + "recency")
