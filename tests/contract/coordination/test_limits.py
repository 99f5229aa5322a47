"""Places of which there are only so many, whoever asks for them and whoever dies."""

import pytest


def test_so_many_have_a_place_and_the_next_one_when_one_leaves(place):
    limits = place.create().limits
    assert [limits.take("a", token, limit=2) for token in ("one", "two", "three")] == [True, True, False]
    assert limits.take("b", "three", limit=2), "another name is another limit"
    assert limits.release("a", "one")
    assert limits.take("a", "three", limit=2)
    assert not limits.take("a", "one", limit=2)


def test_whoever_has_a_place_has_it_for_longer_and_once(place):
    limits = place.create().limits
    assert limits.take("a", "one", limit=2)
    assert limits.take("a", "one", limit=2)
    assert limits.take("a", "two", limit=2)
    assert place.raw.zcard(f"{place.prefix}turns:a") == 2


def test_a_place_that_nobody_renews_is_free_again(place):
    limits = place.create().limits
    assert limits.take("a", "dead", limit=1, ttl_s=0.0)
    assert limits.take("a", "next", limit=1)
    assert not limits.release("a", "dead")
    assert not limits.take("a", "dead", limit=1)


def test_nobody_gives_back_what_another_has(place):
    limits = place.create().limits
    limits.take("a", "one", limit=1)
    assert not limits.release("a", "two")
    assert not limits.take("a", "two", limit=1)


@pytest.mark.parametrize("score", [9e15, float("inf")])
def test_i6_junk_takes_nobodys_place(place, score):
    limits = place.create().limits
    key = f"{place.prefix}turns:a"
    place.raw.zadd(key, {"junk": score})
    assert limits.take("a", "one", limit=1)
    place.raw.delete(key)
    place.raw.set(key, "junk")
    assert not limits.release("a", "one")
    assert limits.take("a", "one", limit=1)
    assert not limits.take("a", "two", limit=1)


def test_a_clock_that_was_set_back_keeps_nobody_waiting(place):
    limits = place.create().limits
    later = place.raw.time()[0] * 1000 + 20 * 60_000
    place.raw.zadd(f"{place.prefix}turns:a", {"killed": later})
    assert limits.take("a", "one", limit=1)
