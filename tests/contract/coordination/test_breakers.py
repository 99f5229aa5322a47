"""What one worker finds out about a remote, all know; one of them looks whether it is back."""

import json

import pytest

from caskeeper.coordination.breakers import CALM_S, LONGEST_S, MOST
from caskeeper.errors import DeadlineExceeded, RemoteUnavailable

URL, OTHER = "http://cache:1", "http://cache:2"
REFUSED = RemoteUnavailable("connection refused", URL, "start it")


def over(place, url=URL, *, since_s=0.001):
    """The time of ``url`` is over, and was so long ago."""
    key = f"{place.prefix}breakers"
    record = json.loads(place.raw.hget(key, url))
    now = place.raw.time()
    record["until_ms"] = str(now[0] * 1000 + now[1] // 1000 - round(since_s * 1000))
    place.raw.hset(key, url, json.dumps(record))


def test_a_remote_that_nobody_complained_about_is_not_left_alone(place):
    assert place.create().breakers.look([URL, OTHER]) == {}
    assert place.join().breakers.look([]) == {}


def test_everybody_hears_why_and_for_how_long_one_is_left_alone(place):
    left_s, news = place.create().breakers.open(URL, REFUSED, first_s=10.0)
    assert (left_s, news) == (10.0, True)
    told = place.join().breakers.look([OTHER, URL])
    assert set(told) == {URL}
    assert type(told[URL].error) is RemoteUnavailable
    assert told[URL].error.args == REFUSED.args
    assert 0 < told[URL].left_s <= 10.0
    assert not told[URL].probe


def test_the_class_of_the_failure_travels(place):
    breakers = place.create().breakers
    breakers.open(URL, DeadlineExceeded("no answer", URL), first_s=10.0)
    assert isinstance(breakers.look([URL])[URL].error, DeadlineExceeded)


def test_what_others_who_were_on_the_way_say_is_no_news_and_makes_it_no_longer(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    left_s, news = breakers.open(URL, REFUSED, first_s=10.0)
    assert left_s <= 10.0
    assert not news
    assert breakers.read()[0].failures == 1


def test_when_the_time_is_over_one_looks_and_the_others_still_leave_it_alone(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    over(place)
    assert [breakers.look([URL])[URL].probe for _ in range(3)] == [True, False, False]
    key = f"{place.prefix}breakers"
    dead = {**json.loads(place.raw.hget(key, URL)), "probe_ms": "1"}
    place.raw.hset(key, URL, json.dumps(dead))
    assert breakers.look([URL])[URL].probe, "whoever was to look has died"


def test_in_a_row_it_is_left_alone_for_longer_up_to_a_limit(place):
    breakers = place.create().breakers
    waits = []
    for _ in range(6):
        waits.append(breakers.open(URL, REFUSED, first_s=10.0))
        over(place)
    assert [left_s for left_s, _ in waits] == [10.0, 20.0, 40.0, 80.0, LONGEST_S, LONGEST_S]
    assert [news for _, news in waits] == [True] + [False] * 5


def test_one_that_answers_is_asked_by_all_and_its_past_is_forgotten_after_a_calm_time(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    assert breakers.close(URL)
    assert not breakers.close(URL)
    assert place.join().breakers.look([URL]) == {}
    assert breakers.open(URL, REFUSED, first_s=10.0) == (20.0, True), "one that comes and goes"
    breakers.close(URL)
    over(place, since_s=3600.0)
    assert breakers.open(URL, REFUSED, first_s=10.0) == (10.0, True)


def test_one_that_nobody_has_asked_since_is_met_with_all_patience_and_raises_no_alarm(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    over(place, since_s=CALM_S / 10)
    assert breakers.read()[0].is_open, "its users come every now and then"
    over(place, since_s=CALM_S - 60.0)
    assert not breakers.read()[0].is_open, "a typing error of this morning"
    assert breakers.look([URL])[URL].probe
    over(place, since_s=CALM_S + 60.0)
    assert breakers.look([URL]) == {}


def test_a_bounded_number_of_remotes_is_remembered(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=100.0)
    for number in range(MOST + 20):
        breakers.open(f"http://typo:{number}", REFUSED, first_s=10.0 + number / 1000)
    place.raw.hset(f"{place.prefix}breakers", "junk", "junk")
    breakers.open(OTHER, REFUSED, first_s=10.0)
    kept = {record.url for record in breakers.read()}
    assert len(kept) == MOST
    assert {URL, OTHER, f"http://typo:{MOST + 19}"} <= kept
    assert not {"junk", "http://typo:0"} & kept


def test_what_is_known_can_be_read(place):
    breakers = place.create().breakers
    assert breakers.read() == ()
    breakers.open(URL, REFUSED, first_s=10.0)
    breakers.open(OTHER, REFUSED, first_s=10.0)
    breakers.close(OTHER)
    first, second = breakers.read()
    assert (first.url, first.is_open, first.reason, first.failures) == (URL, True, "connection refused", 1)
    assert (second.url, second.is_open) == (OTHER, False)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "junk",
        "[]",
        "null",
        '{"open": "1"}',
        '{"open": "1", "until_ms": 5}',
        '{"open": "1", "until_ms": "99999999999999999999"}',
        '{"open": "1", "until_ms": "9999999999999999", "error": "junk"}',
    ],
)
def test_i6_junk_closes_no_remote_off(place, junk):
    breakers = place.create().breakers
    key = f"{place.prefix}breakers"
    place.raw.hset(key, URL, junk)
    assert breakers.look([URL]) == {}
    breakers.read()
    breakers.close(URL)
    assert breakers.open(URL, REFUSED, first_s=10.0)[0] >= 10.0
    assert breakers.look([URL])[URL].error.what == REFUSED.what


def test_i6_a_key_of_another_type_is_nothing(place):
    breakers = place.create().breakers
    place.raw.set(f"{place.prefix}breakers", "junk")
    assert breakers.look([URL]) == {}
    assert breakers.read() == ()
    assert not breakers.close(URL)
    assert breakers.open(URL, REFUSED, first_s=10.0) == (10.0, True)


def test_an_open_record_without_a_readable_reason_still_has_one(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    key = f"{place.prefix}breakers"
    place.raw.hset(key, URL, json.dumps({**json.loads(place.raw.hget(key, URL)), "error": "junk"}))
    error = breakers.look([URL])[URL].error
    assert isinstance(error, RemoteUnavailable)
    assert error.what == "it did not answer"


def test_a_clock_that_was_set_back_closes_no_remote_off(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    over(place, since_s=-30 * 60.0)
    assert breakers.look([URL]) == {}
    assert breakers.read() == ()
    assert breakers.open(URL, REFUSED, first_s=10.0) == (10.0, True)


def test_i6_junk_in_an_open_record_keeps_nobody_from_looking(place):
    breakers = place.create().breakers
    breakers.open(URL, REFUSED, first_s=10.0)
    over(place)
    key = f"{place.prefix}breakers"
    # Numbers that can be read and not be written again.
    place.raw.hset(key, URL, place.raw.hget(key, URL)[:-1] + ', "junk": 1e999, "failures": 1e999}')
    told = breakers.look([OTHER, URL])
    assert told[URL].probe
    assert told[URL].error.what == REFUSED.what
    place.raw.hset(key, URL, place.raw.hget(key, URL)[:-1] + ', "junk": 1e999}')
    assert breakers.close(URL)
    assert breakers.look([URL]) == {}
