"""The state of a job is stored in the step that it tells of: announced, begun, ended."""

import json

import pytest

from caskeeper.coordination.connection import evaluate
from caskeeper.coordination.jobs import Begin, Offer, Outcome, Release, Stored
from caskeeper.coordination.scripts import load


def _offer(job_id, flight="artifacts.pull:0"):
    return Offer(job_id, flight, "artifacts.pull", "pull", "p/e/k", "me@here")


def test_the_state_of_a_job_is_stored_with_its_offer_and_never_over_another_or_for_who_joins(place):
    jobs = place.create().flights.jobs
    states = [Stored(f"state-{number}", f"queued {number}", 60) for number in "123"]
    assert jobs.join(_offer("1"), waiter="a", state=states[0]).new
    assert not jobs.join(_offer("2"), waiter="b", state=states[1]).new
    place.raw.set("state-1", "begun", ex=60)
    assert jobs.join(_offer("1"), waiter="a", state=states[0]).new, "who did not hear the answer asks again"
    assert jobs.join(_offer("3", "other"), waiter="c", state=states[2]).new
    assert [place.raw.get(state.key) for state in states] == ["begun", None, "queued 3"]
    assert 0 < place.raw.ttl("state-3") <= 60


ENDS = ("SUCCESS", "FAILURE")


def _begin(token):
    return Begin("1", "artifacts.pull:0", token, 60.0, True, "artifacts.pull", "pull", "p/e/k", "w", 7, 0)


def _state(status, stay=ENDS):
    return Stored("state-1", json.dumps({"status": status}), 60, stay)


def test_a_begin_is_told_in_the_step_that_takes_the_job_and_an_end_stays(place):
    jobs = place.create().flights.jobs
    jobs.join(_offer("1"), waiter="a", state=_state("QUEUED", ()))
    assert jobs.take(_begin("a"), _state("STARTED")).stays is None
    assert place.raw.get("state-1") == _state("STARTED").text
    assert 0 < place.raw.ttl("state-1") <= 60
    assert jobs.take(_begin("b"), _state("LATER")).word == "HELD"
    assert place.raw.get("state-1") == _state("STARTED").text, "a copy that waits has not begun"
    for end in ENDS:
        place.raw.set("state-1", _state(end).text)
        assert jobs.take(_begin("a"), _state("STARTED")).stays == _state(end).text
    place.raw.set("state-1", "no state")
    assert jobs.take(_begin("a"), _state("STARTED")).stays is None
    assert place.raw.get("state-1") == _state("STARTED").text


def _end(place, token, state, outcome):
    keys, args = Release("1", "artifacts.pull:0", token, Outcome(outcome)).words()
    words = [str(word) for word in (*args, *state.words())]
    return evaluate(place.raw, load("job_release", ""), (*keys, state.key), words)


@pytest.fixture
def begun(place):
    jobs = place.create().flights.jobs
    jobs.join(_offer("1"), waiter="a", state=_state("QUEUED", ()))
    jobs.take(_begin("a"), _state("STARTED"))
    return jobs


def test_an_end_is_told_in_the_step_that_notes_it(place, begun):
    end = _state("FAILURE", ("SUCCESS",))
    assert _end(place, "a", end, "failed") == ["OK"]
    assert place.raw.get("state-1") == end.text
    assert begun.read("1").state == "failed"
    place.raw.set("state-1", _state("SUCCESS").text)
    assert _end(place, "a", end, "failed")[1:] == [_state("SUCCESS").text]


def test_the_end_of_an_execution_that_lost_its_job_to_another_is_told_and_not_noted(place, begun):
    failure = _state("FAILURE", ("SUCCESS",))
    assert _end(place, "late", failure, "failed") == ["HELD"]
    assert place.raw.get("state-1") == failure.text, "nobody may have its message any more"
    success = _state("SUCCESS", ("SUCCESS",))
    assert _end(place, "late", success, "done") == ["HELD"]
    assert place.raw.get("state-1") == success.text
    assert begun.read("1").state == "running", "that one finds its result, and ends it"
