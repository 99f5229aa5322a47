"""One beat of the fleet leads, whoever dies; the schedule goes on where the last leader left it."""

import time
from dataclasses import replace

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination.keys import LEADER
from caskeeper.coordination.leader import Leader


def candidate(place, *, life_s=60.0):
    return Leader(place.connection(), replace(LeaseSettings(), operation_s=life_s))


def test_one_leads_and_takes_it_again_while_the_others_stand_by(place):
    first, second = candidate(place), candidate(place)
    assert first.take() is not None
    assert second.take() is None
    assert first.take() is not None
    assert second.leads() == first.host


def test_a_leader_that_releases_is_followed_at_once_and_by_nobody_else_s_word(place):
    first, second = candidate(place), candidate(place)
    first.take()
    assert not second.release()
    assert second.take() is None
    assert first.release()
    assert second.leads() == ""
    assert second.take() is not None
    assert not first.release()
    assert first.take() is None


def test_a_leader_whose_lease_is_over_is_followed(place):
    assert candidate(place, life_s=0.0).take() is not None
    assert candidate(place).take() is not None


def test_the_next_leader_learns_when_each_entry_was_last_sent(place):
    first, second = candidate(place, life_s=0.0), candidate(place)
    assert first.take().ago_s == {}
    assert first.sent("sweep")
    place.raw.hincrby(LEADER, "sent:sweep", -60_000)
    assert first.sent("look")
    time.sleep(0.002)
    found = second.take().ago_s
    assert 60 <= found["sweep"] < 120
    assert 0 <= found["look"] < 60
    assert not first.sent("look"), "it does not lead any more"


def test_i6_a_key_of_another_type_or_with_junk_in_it_is_nobody_s_lead(place):
    for junk in (
        lambda: place.raw.set(LEADER, "junk"),
        lambda: place.raw.hset(LEADER, mapping={"holder": "x", "expires_ms": "junk", "sent:look": "junk"}),
        lambda: place.raw.hset(LEADER, mapping={"holder": "x"}),
        *(
            lambda end=end: place.raw.hset(LEADER, mapping={"holder": "x", "expires_ms": end, "host": "h"})
            for end in ("1e300", "inf", "nan", "0x7fffffffffffff", "9" * 15, "9" * 30, "-1", b"\xff")
        ),
        *(
            lambda sent=sent: place.raw.hset(LEADER, "sent:look", sent)
            for sent in ("1e300", "inf", "nan", "-" + "9" * 20, "9" * 20, "", "1.5", b"\xff")
        ),
        lambda: place.raw.hset(LEADER, mapping={b"sent:\xff\xfe": "5", b"\xff": b"\xff"}),
    ):
        place.raw.delete(LEADER)
        junk()
        leader = candidate(place)
        assert leader.leads() == ""
        assert leader.take().ago_s == {}
        assert leader.leads() == leader.host
