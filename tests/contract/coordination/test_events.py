"""The event log: a hint for people that survives what safety keys do not, and never fails a verb (I6)."""

import json
import logging

import pytest

from caskeeper.coordination import events as log_module
from caskeeper.coordination.events import Event, on_behalf_of, origin
from caskeeper.errors import CoordinatorUnavailable

A, B = "p/e/a", "p/e/b"


def kinds(events):
    return [event.what for event in events]


def test_what_became_of_a_ref_comes_newest_first_with_time_host_and_job(place):
    coordination = place.create()
    before_ms = coordination.now_ms()
    with on_behalf_of("job-1"):
        coordination.events.note_all([Event("published", A, by="commit-1", root="aa")])
    coordination.events.note("evicted", [B, A], why="above the quota", by="cleanup-1")
    evicted, published = coordination.events.of(A)
    assert (evicted.what, evicted.why, evicted.by, evicted.job) == (
        "evicted",
        "above the quota",
        "cleanup-1",
        "",
    )
    assert (published.what, published.root, published.job) == ("published", "aa", "job-1")
    assert evicted.host.rpartition(":")[2].isdigit()
    assert before_ms <= published.at_ms <= evicted.at_ms <= coordination.now_ms()
    assert kinds(coordination.events.of(B)) == ["evicted"]
    assert coordination.events.of("p/e/never") == []


def test_the_log_tells_since_when_it_knows_anything(place):
    coordination = place.create()
    assert coordination.events.begins_ms() == 0
    before_ms = coordination.now_ms()
    coordination.events.note("published", [A])
    began_ms = coordination.events.begins_ms()
    assert before_ms <= began_ms <= coordination.now_ms()
    coordination.events.note("evicted", [B])
    assert coordination.events.begins_ms() == began_ms
    place.raw.set(place.prefix + "events", "junk")
    assert coordination.events.begins_ms() == 0


def test_noting_keeps_recency_in_the_same_round_trip(place):
    coordination = place.create()
    coordination.events.note("published", [A, B])
    first = coordination.recency.scores([A, B])
    assert None not in first
    coordination.events.note("refused", [A, B])
    assert coordination.recency.scores([A, B]) == first, "nothing was used"
    for what in ("evicted", "removed", "withdrawn"):
        coordination.recency.touch([A, B])
        coordination.events.note(what, [A])
        assert coordination.recency.scores([A]) == [None], what
        assert coordination.recency.scores([B]) != [None]


def test_the_log_is_capped_and_an_answer_may_be_limited(place, monkeypatch):
    monkeypatch.setattr(log_module, "KEPT", 300)
    monkeypatch.setattr(log_module, "_PAGE", 7)
    events = place.create().events
    events.note("published", [f"p/e/{number}" for number in range(1500)])
    assert 300 <= place.raw.xlen(place.prefix + "events") < 600
    assert events.of("p/e/0") == [], "the oldest entries made way"
    assert kinds(events.of("p/e/1499")) == ["published"]
    for _ in range(20):
        events.note("published", [A, B])
    assert len(events.of(A)) == 20, "also when it is read page by page"
    assert len(events.of(A, limit=5)) == 5


def test_i6_the_log_outlives_a_new_epoch_and_its_loss_is_no_loss_of_state(place):
    coordination = place.create()
    coordination.events.note("published", [A])
    place.raw.delete(place.prefix + "state")
    assert coordination.state().lost
    coordination.events.note("evicted", [A])
    coordination.maintenance.acquire("me", purpose="recovery")
    assert kinds(coordination.events.of(A)) == ["evicted", "published"]
    place.raw.delete(place.prefix + "events")
    assert coordination.events.of(A) == []
    coordination.maintenance.renew("me", coordination.state().epoch)


@pytest.mark.parametrize("name", ["events", "recency"])
def test_i6_a_key_of_another_type_is_no_hint_and_the_next_note_begins_anew(place, name):
    coordination = place.create()
    place.raw.set(place.prefix + name, "junk")
    assert coordination.events.of(A) == []
    assert coordination.recency.scores([A]) == [None]
    coordination.events.note("published", [A])
    assert kinds(coordination.events.of(A)) == ["published"]
    assert coordination.recency.scores([A]) != [None]
    place.raw.delete(place.prefix + name)
    place.raw.sadd(place.prefix + name, "junk")
    coordination.recency.touch([A])
    assert coordination.recency.scores([A]) != [None]


@pytest.mark.parametrize(
    "junk",
    [
        {"ref": A, "what": "evicted", "more": "no json"},
        {"ref": A, "what": "evicted", "more": "[1]"},
        {"ref": A, "what": "evicted", "more": json.dumps({"freed_bytes": "many"})},
        {"ref": A, "what": "evicted", "more": json.dumps({"ref": "another"})},
        {"ref": A},
        {"what": "evicted"},
    ],
)
def test_entries_that_nobody_of_us_wrote_are_passed_over(place, junk):
    coordination = place.create()
    coordination.events.note("published", [A])
    place.raw.xadd(place.prefix + "events", junk)
    assert kinds(coordination.events.of(A)) == ["published"]


def test_an_entry_of_a_later_release_is_read_as_far_as_it_is_known(place):
    coordination = place.create()
    place.raw.xadd(
        place.prefix + "events",
        {"ref": A, "what": "moved", "more": json.dumps({"why": "because", "where": 7})},
    )
    (event,) = coordination.events.of(A)
    assert (event.what, event.why) == ("moved", "because")


def test_noting_never_fails_and_reading_says_that_redis_is_away(place, monkeypatch, caplog):
    coordination = place.create()

    def away(*_arguments):
        raise CoordinatorUnavailable("away")

    monkeypatch.setattr(coordination._connection, "script", away)
    with caplog.at_level(logging.WARNING):
        coordination.events.note("published", [A])
    assert "event not noted" in caplog.text
    with pytest.raises(CoordinatorUnavailable):
        coordination.events.of(A)


def test_credentials_of_a_remote_are_not_written_down():
    assert origin("https://user:secret@example.org:443/x?token=y") == "https://example.org:443/x"
    assert origin("commit") == "commit"


def test_a_ref_that_names_the_same_as_before_is_used_and_no_news(place):
    coordination = place.create()
    coordination.events.bound({A: "", B: "old"}, root="new", by="commit-1", why="commit")
    assert [(event.what, event.before, event.root) for event in coordination.events.of(A)] == [
        ("published", "", "new")
    ]
    assert [(event.what, event.before, event.root) for event in coordination.events.of(B)] == [
        ("bound", "old", "new")
    ]
    place.raw.delete(place.prefix + "recency")
    coordination.events.bound({A: "new"}, root="new", by="commit-2")
    assert kinds(coordination.events.of(A)) == ["published"]
    assert coordination.recency.scores([A, B])[0] is not None
    coordination.events.bound({}, root="new", by="commit-3")
