"""Totals of the fleet."""

from caskeeper.coordination.stats import MOST_FIELDS, SINCE


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
