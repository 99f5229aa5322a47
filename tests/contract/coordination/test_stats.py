"""Totals of the fleet."""

import pytest

from caskeeper.coordination.stats import MOST_FIELDS, SINCE
from caskeeper.errors import CoordinatorUnavailable


def test_totals_add_up_and_what_is_so_now_replaces_what_was(place):
    stats = place.create().stats
    stats.add({"misses": 2, "hits local": 0}, now={"drift_bytes": -5})
    place.join().stats.add({"misses": 1}, now={"drift_bytes": 7})
    found = stats.read()
    assert found.pop(SINCE) > 0
    assert found == {"misses": 3, "drift_bytes": 7}


def test_before_anything_and_after_a_reset_there_are_none(place):
    stats = place.create().stats
    assert stats.read() == {}
    stats.add({"misses": 2})
    stats.reset()
    assert stats.read() == {}


def test_evictions_that_cannot_be_counted_are_no_trouble_of_who_wanted_the_room(place, monkeypatch):
    coordination = place.create()

    def unavailable(*_words):
        raise CoordinatorUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(coordination.stats._scripts, "run_plain", unavailable)
        with pytest.raises(CoordinatorUnavailable):
            coordination.stats.add({"misses": 1})
        coordination.stats.evicted(1, 9)
    coordination.stats.evicted(2, 8)
    coordination.stats.evicted(0, 0)
    totals = coordination.stats.read()
    assert totals.pop(SINCE) > 0
    assert totals == {"evicted refs": 2, "evicted bytes": 8}


def test_their_number_is_bounded_and_those_that_are_known_go_on(place):
    stats = place.create().stats
    stats.add({f"bytes pulled http://{n}": 1 for n in range(MOST_FIELDS + 50)})
    stats.add({"misses": 1, "bytes pulled http://0": 1})
    found = stats.read()
    assert len(found) == MOST_FIELDS
    assert found["bytes pulled http://0"] == 2


def test_what_nobody_of_us_wrote_is_put_right_or_passed_over(place):
    stats = place.create().stats
    place.raw.set(place.prefix + "stats", "junk")
    assert stats.read() == {}
    stats.add({"misses": 1})
    place.raw.hset(place.prefix + "stats", "misses", "many")
    place.raw.hset(place.prefix + "stats", SINCE, "long ago")
    assert "misses" not in stats.read()
    stats.add({"misses": 4})
    assert stats.read()["misses"] == 4
    assert stats.read()[SINCE] > 0
