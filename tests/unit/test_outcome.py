"""How a job ended, in the words of its record."""

import json

import pytest
from celery import Celery
from celery.backends.base import KeyValueStoreBackend

from caskeeper.errors import ArtifactNotFound, Busy, Cancelled
from caskeeper.outcome import outcome_of_error, outcome_of_state, transferred


@pytest.mark.parametrize(
    ("result", "moved"),
    [
        ({"pulled": True, "bytes": 7}, 7),
        ({"remotes": [{"bytes": 3}, {"bytes": 4}, "junk"]}, 7),
        ({"root": "x"}, 0),
        (None, 0),
        ({"bytes": "many"}, 0),
    ],
)
def test_bytes_are_those_that_went_to_or_came_from_remotes(result, moved):
    assert transferred(result) == moved
    assert outcome_of_state({"status": "SUCCESS", "result": result}).transferred_bytes == moved


def test_an_error_keeps_its_class_its_exit_code_and_its_sentence():
    found = outcome_of_state({"status": "FAILURE", "result": Busy("held", "p/e/k")})
    assert (found.state, found.error, found.exit_code) == ("failed", "Busy", 24)
    assert "held" in found.sentence
    stored = {"exc_type": "Busy", "exc_message": ["held", "p/e/k"], "exc_module": "caskeeper.errors"}
    assert outcome_of_state({"status": "FAILURE", "result": stored}) == found


def test_an_error_as_it_is_told_in_the_process_that_failed_has_the_sentence_that_is_stored():
    words = ("there is no such ref", "ref demo/nope/7", "pull it, or commit it")
    backend = KeyValueStoreBackend(app=Celery(set_as_current=False))
    told = backend.prepare_exception(ArtifactNotFound(*words), "json")
    stored = json.loads(json.dumps(told))
    for result in (told, stored):
        found = outcome_of_state({"status": "FAILURE", "result": result})
        assert found.sentence == str(ArtifactNotFound(*words))


def test_what_was_withdrawn_is_cancelled_and_no_failure():
    assert outcome_of_error(Cancelled("x")).state == "cancelled"
    assert outcome_of_state({"status": "REVOKED", "result": None}).state == "cancelled"


def test_what_nobody_began_in_time_was_withdrawn_by_nobody():
    stored = {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"}
    found = outcome_of_state({"status": "REVOKED", "result": stored})
    assert found.state == "cancelled"
    assert "no worker began the job in its time" in found.sentence
    stored["exc_message"] = ["withdrawn"]
    assert "was withdrawn" in outcome_of_state({"status": "REVOKED", "result": stored}).sentence


def test_a_bug_is_told_as_one():
    for state in (RuntimeError("x"), {"exc_type": "RuntimeError", "exc_message": ["x"]}):
        found = outcome_of_state({"status": "FAILURE", "result": state})
        assert (found.state, found.exit_code) == ("failed", 1)
        assert "fault of caskeeper" in found.sentence
