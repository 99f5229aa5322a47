"""Sessions: what they require, how they end, how their owner learns of it (safety.md section 4)."""

import pytest

from caskeeper.coordination import SessionRecord, StateLost
from caskeeper.errors import InvalidRequest, LeaseLost


def test_required_keys_are_those_of_every_live_session(place):
    coordination = place.create()
    coordination.sessions.open("s1", label="build 7")
    assert coordination.sessions.require("s1", ["strong", "weak"]) == set()
    assert coordination.sessions.require("s1", ["weak"]) == set()
    coordination.sessions.open("s2")
    coordination.sessions.require("s2", ["weak"])
    keys = coordination.sessions.required_keys()
    assert keys["strong"] == "s1"
    assert keys["weak"] in {"s1", "s2"}
    assert len(keys) == 2
    first, second = coordination.sessions.live()
    assert first == SessionRecord("s1", "build 7", first.expires_ms, 2)
    assert second == SessionRecord("s2", "", second.expires_ms, 1)
    assert first.expires_ms <= coordination.now_ms() + 120_000


def test_every_session_that_requires_a_key_is_named(place):
    coordination = place.create()
    for session_id in ("b", "a"):
        coordination.sessions.open(session_id, label=f"label of {session_id}")
        coordination.sessions.require(session_id, ["both", f"only-{session_id}"])
    found = coordination.sessions.requirers()
    assert {key: [session.id for session in sessions] for key, sessions in found.items()} == {
        "both": ["a", "b"],
        "only-a": ["a"],
        "only-b": ["b"],
    }
    assert found["only-b"][0].label == "label of b"
    assert coordination.sessions.required_keys()["both"] == "a"


def test_a_session_may_require_tens_of_thousands_of_keys(place):
    coordination = place.create()
    keys = [f"key-{n}" for n in range(20_000)]
    assert coordination.sessions.require("s", keys) == set()
    assert coordination.sessions.required_keys() == dict.fromkeys(keys, "s")


def test_opening_a_live_session_again_keeps_its_keys(place):
    coordination = place.create()
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["k"])
    coordination.sessions.open("s", label="again")
    (session,) = coordination.sessions.live()
    assert (session.label, session.keys) == ("again", 1)


def test_renewing_moves_the_expiry_of_a_live_session(place):
    coordination = place.create()
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["k"])
    (before,) = coordination.sessions.live()
    assert coordination.sessions.renew("s")
    (after,) = coordination.sessions.live()
    assert after.expires_ms >= before.expires_ms
    assert after.keys == 1


def test_an_expired_session_requires_nothing_and_is_not_renewed(place):
    coordination = place.create()
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["k"])
    assert place.join(leases=place.expired).sessions.renew("s")
    assert coordination.sessions.live() == []
    assert coordination.sessions.required_keys() == {}
    assert not coordination.sessions.renew("s")
    assert not place.raw.exists(place.prefix + "session:s")


def test_opening_an_expired_session_begins_without_keys(place):
    coordination = place.create()
    place.join(leases=place.expired).sessions.require("s", ["k"])
    coordination.sessions.open("s")
    assert coordination.sessions.required_keys() == {}
    assert coordination.sessions.renew("s")


def test_an_unknown_session_is_over(place):
    assert not place.create().sessions.renew("s")


def test_a_closed_session_is_over_and_closing_it_again_is_no_error(place):
    coordination = place.create()
    coordination.sessions.require("s", ["k"])
    coordination.sessions.close("s")
    coordination.sessions.close("s")
    assert coordination.sessions.required_keys() == {}
    assert not coordination.sessions.renew("s")


def test_i6_who_requires_more_after_a_loss_learns_that_the_rest_is_gone(place):
    coordination = place.create()
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["early"])
    place.raw.flushall()
    grant = coordination.maintenance.acquire("cleanup", purpose="recovery")
    coordination.maintenance.ready("cleanup", grant.epoch)
    coordination.sessions.require("s", ["late"])
    assert not coordination.sessions.renew("s"), "`early` is not required any more"
    assert coordination.sessions.required_keys() == {"late": "s"}
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["early", "late"])
    assert coordination.sessions.renew("s")
    assert set(coordination.sessions.required_keys()) == {"early", "late"}


def test_requiring_in_an_expired_session_makes_it_anew_and_says_so(place):
    coordination = place.create()
    coordination.sessions.open("s", label="build 7")
    coordination.sessions.require("s", ["early"])
    assert place.join(leases=place.expired).sessions.renew("s")
    coordination.sessions.require("s", ["late"])
    assert coordination.sessions.required_keys() == {"late": "s"}
    assert coordination.sessions.live()[0].label == "build 7"
    assert not coordination.sessions.renew("s")


def test_requiring_answers_what_is_condemned_and_protects_it_from_then_on(place):
    coordination = place.create()
    coordination.maintenance.acquire("cleanup", purpose="test")
    group = {"roots": ["aa"], "refs": ["p/e/k"], "keys": ["k", "weak"]}
    assert coordination.maintenance.condemn("cleanup", "epoch-1", **group) == ""
    assert coordination.sessions.require("s", ["k", "other"]) == {"k"}
    coordination.maintenance.uncondemn("cleanup", "epoch-1", **group)
    assert coordination.sessions.require("s", ["k"]) == set()
    assert coordination.maintenance.condemn("cleanup", "epoch-1", **group) == (
        "required by session s (key k)"
    )


def test_sessions_wait_until_the_state_is_ready(place):
    coordination = place.join()
    coordination.maintenance.acquire("cleanup", purpose="recovery")
    with pytest.raises(StateLost, match="being recovered"):
        coordination.sessions.open("s")
    with pytest.raises(StateLost, match="being recovered"):
        coordination.sessions.require("s", ["k"])
    assert not coordination.sessions.renew("s")
    assert coordination.sessions.live() == []


@pytest.mark.parametrize("session_id", ["", "epoch", "a b", "x" * 129])
def test_a_session_id_that_cannot_be_a_key_is_refused(place, session_id):
    with pytest.raises(InvalidRequest, match="session id"):
        place.create().sessions.open(session_id)


def test_a_life_of_its_own_outlasts_the_configured_one_and_stays_with_the_session(place):
    place.create()
    coordination = place.join(leases=place.expired)
    coordination.sessions.open("s", life_s=3600)
    now = coordination.now_ms()
    assert coordination.sessions.require("s", ["k"]) == set()
    assert coordination.sessions.renew("s")
    coordination.sessions.open("s", label="opened again")
    (session,) = coordination.sessions.live()
    assert (session.label, session.keys) == ("opened again", 1)
    assert now + 3_590_000 < session.expires_ms <= coordination.now_ms() + 3_600_000
    coordination.sessions.open("s", life_s=60)
    assert coordination.sessions.live()[0].expires_ms <= coordination.now_ms() + 60_000
    coordination.sessions.open("another")
    assert [one.id for one in coordination.sessions.live()] == ["s"]


@pytest.mark.parametrize("life_s", [0, -1, 7 * 86400 + 1, float("inf"), float("nan")])
def test_a_life_that_is_none_or_has_no_end_is_refused(place, life_s):
    coordination = place.create()
    with pytest.raises(InvalidRequest, match="at most 7 days"):
        coordination.sessions.open("s", life_s=life_s)
    assert coordination.sessions.live() == []


def test_who_does_not_know_the_earlier_keys_is_told_that_the_session_is_over(place):
    coordination = place.create()
    with pytest.raises(LeaseLost, match="the session is over"):
        coordination.sessions.require("never", ["k"], anew=False)
    coordination.sessions.open("s")
    coordination.sessions.require("s", ["early"], anew=False)
    assert place.join(leases=place.expired).sessions.renew("s")
    with pytest.raises(LeaseLost, match="open a new one"):
        coordination.sessions.require("s", ["late"], anew=False)
    assert coordination.sessions.required_keys() == {}
    coordination.sessions.open("s")
    coordination.sessions.close("s")
    with pytest.raises(LeaseLost):
        coordination.sessions.require("s", ["late"], anew=False)


def test_i6_after_a_loss_a_session_of_several_steps_is_over(place):
    coordination = place.create()
    coordination.sessions.open("s", life_s=3600)
    coordination.sessions.require("s", ["early"], anew=False)
    place.raw.flushall()
    with pytest.raises(StateLost):
        coordination.sessions.require("s", ["late"], anew=False)
    grant = coordination.maintenance.acquire("cleanup", purpose="recovery")
    coordination.maintenance.ready("cleanup", grant.epoch)
    with pytest.raises(LeaseLost):
        coordination.sessions.require("s", ["late"], anew=False)
    assert not coordination.sessions.renew("s")


def test_a_label_of_any_bytes_can_be_kept(place):
    coordination = place.create()
    coordination.sessions.open("s", label="build \udcff é")
    assert coordination.sessions.live()[0].label == "build \\udcff é"
