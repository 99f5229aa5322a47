"""What delivery needs (queue.md 2.3, 2.4, 2.6), and the hint that orders evictions."""

import time


def test_one_token_executes_a_task_at_a_time(place):
    flights = place.create().flights
    assert flights.take("task", "a", ttl_s=60)
    assert not flights.take("task", "b", ttl_s=60)
    assert flights.take("task", "a", ttl_s=60), "the same token may take it again"
    assert not flights.release("task", "b")
    assert flights.release("task", "a")
    assert not flights.release("task", "a")
    assert flights.take("task", "b", ttl_s=60)


def test_only_its_token_renews_an_execution(place):
    flights = place.create().flights
    assert not flights.renew("task", "a", ttl_s=60)
    flights.take("task", "a", ttl_s=60)
    assert not flights.renew("task", "b", ttl_s=600)
    assert place.raw.pttl(place.prefix + "exec:task") <= 60_000
    assert flights.renew("task", "a", ttl_s=600)
    assert 60_000 < place.raw.pttl(place.prefix + "exec:task") <= 600_000


def test_deliveries_are_counted_per_task_for_a_day(place):
    flights = place.create().flights
    assert [flights.count_delivery("task") for _ in range(3)] == [1, 2, 3]
    assert flights.count_delivery("other") == 1
    assert 0 < place.raw.ttl(place.prefix + "deliv:task") <= 86_400


def test_a_heartbeat_moves_the_messages_that_are_there_and_brings_none_back(place):
    place.raw.zadd("unacked_index", {"held": 1.0, "other": 2.0})
    before = time.time()
    place.create().flights.beat("unacked_index", ["held", "acknowledged"])
    assert before <= place.raw.zscore("unacked_index", "held") <= time.time()
    assert place.raw.zscore("unacked_index", "other") == 2.0
    assert place.raw.zscore("unacked_index", "acknowledged") is None


def test_a_heartbeat_without_messages_is_nothing(place):
    place.create().flights.beat("unacked_index", [])
    assert not place.raw.exists("unacked_index")


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
