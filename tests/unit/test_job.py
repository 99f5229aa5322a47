"""A job seen from whoever waits for it."""

from unittest.mock import Mock

import pytest

from caskeeper import job as job_module
from caskeeper.contract import Progress, PullResult
from caskeeper.coordination.jobs import DETACHED_S, WAITER_S, Withdrawal
from caskeeper.errors import (
    Cancelled,
    CaskeeperError,
    CoordinatorUnavailable,
    DeadlineExceeded,
    Permanent,
    every_error,
)
from caskeeper.job import Job, error_of, progress_of
from caskeeper.queue import place_of

RESULT = PullResult(pulled=True, cached=False)
DONE = {"status": "SUCCESS", "result": RESULT.to_json(), "name": "artifacts.pull"}


class Told:
    """States one after another; the last one stays. An error is raised."""

    def __init__(self, *states):
        self._states = list(states)
        self.nowhere, self.looks = False, 0
        self.why, self.lines = "", []
        self.attended, self.gone = [], False

    def why_waiting(self, state):
        return self.why if state.get("status") == "QUEUED" else ""

    def say(self, line):
        self.lines.append(line)

    def state(self, job_id, *, bears_s=60.0):
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, Exception):
            raise state
        return state

    def is_nowhere(self, job_id):
        self.looks += 1
        return self.nowhere

    def attend(self, job_id, waiter, for_s):
        self.attended.append((job_id, waiter, for_s))
        if self.gone:
            raise CoordinatorUnavailable("gone")

    def withdraw(self, job_id, waiter):
        self.attended.append((job_id, waiter, 0))
        return Withdrawal("ended")


def job(*states, result=PullResult, recorded=True):
    return Job(Told(*states), "j", result=result, recorded=recorded)


def failure(kind, *args, module="caskeeper.errors"):
    return {
        "status": "FAILURE",
        "task_id": "j",
        "result": {"exc_type": kind, "exc_message": list(args), "exc_module": module},
    }


@pytest.mark.parametrize("name", sorted(every_error()))
def test_every_error_arrives_as_the_class_that_was_raised(name):
    error = error_of(failure(name, "what", "where", "way out"))
    assert type(error) is every_error()[name]
    assert error.args == ("what", "where", "way out")


@pytest.mark.parametrize("kind", [list, tuple])
def test_an_error_says_the_same_stored_or_told_in_the_process_that_failed(kind):
    words = ("there is no such ref", "ref demo/nope/7", "pull it, or commit it")
    told = failure("ArtifactNotFound")
    told["result"]["exc_message"] = kind(words)
    expected = "artifact not found: there is no such ref [ref demo/nope/7]: pull it, or commit it"
    assert str(error_of(told)) == expected
    late = {"status": "REVOKED", "task_id": "j", "result": {"exc_message": kind(["expired"])}}
    assert "in its time" in str(error_of(late))


def test_an_error_of_a_newer_worker_is_permanent_and_keeps_its_words():
    error = error_of(failure("SomethingNew", "what", "where", "way out"))
    assert isinstance(error, Permanent)
    assert "what" in str(error)


def test_what_is_no_error_of_ours_is_a_bug():
    error = error_of(failure("KeyError", "'x'", module="builtins"))
    assert type(error) is CaskeeperError
    assert (error.exit_code, "KeyError" in str(error)) == (1, True)


def test_a_time_limit_and_a_withdrawal_have_their_own_classes():
    assert type(error_of(failure("TimeLimitExceeded", 3, module="billiard.exceptions"))) is DeadlineExceeded
    assert type(error_of({"status": "REVOKED", "task_id": "j"})) is Cancelled


def test_follow_tells_each_change_once_and_ends():
    report = {"status": "PROGRESS", "result": {**Progress(phase="copying", done_bytes=3).to_json(), "new": 1}}
    seen = list(job({"status": "QUEUED"}, {"status": "STARTED"}, report, report, DONE).follow())
    assert [progress.phase for progress in seen] == ["queued", "started", "copying"]
    assert seen[-1].done_bytes == 3


def test_a_retry_says_why():
    state = {**failure("Busy", "held"), "status": "RETRY"}
    assert "held" in progress_of(state).phase


def test_a_result_is_typed_and_known_by_its_task_when_the_caller_does_not_say():
    assert job(DONE).result() == RESULT
    assert job(None, DONE, result=None, recorded=False).result() == RESULT


def test_a_short_silence_of_redis_is_waited_for():
    gone = CoordinatorUnavailable("gone")
    assert job({"status": "STARTED"}, gone, gone, DONE).result(30) == RESULT


def test_a_long_silence_is_an_error(monkeypatch):
    monkeypatch.setattr(job_module, "PATIENCE_S", 0.05)
    with pytest.raises(CoordinatorUnavailable, match="gone"):
        job(CoordinatorUnavailable("gone")).result(30)


def test_a_state_that_was_there_and_is_gone_is_reported(monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.05)
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        job(None).result(30)
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        job({"status": "STARTED"}, None, recorded=False).result(30)


def test_a_job_that_nobody_recorded_is_waited_for(monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.0)
    with pytest.raises(DeadlineExceeded):
        job(None, recorded=False).result(0.05)


def test_a_deadline_names_the_job():
    with pytest.raises(DeadlineExceeded, match=r"\[job j\]"):
        job({"status": "STARTED"}).result(0.01)


def test_a_password_is_not_shown():
    assert place_of("redis://user:secret@host:1/0?x=y") == "redis://host:1/0"


def test_a_job_that_is_nowhere_although_its_state_stands_is_reported_as_forgotten(monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.02)
    lost = job({"status": "PROGRESS", "result": {}})
    lost._states.nowhere = True
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        lost.result(60)
    assert lost._states.looks == 2


def test_a_job_whose_message_was_lost_on_its_way_is_sent_again_once(monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.02)
    states, sent = Told({"status": "QUEUED"}), []
    states.nowhere = True
    sender = Job(states, "j", result=PullResult, recorded=True, send_again=lambda: sent.append("j"))
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        sender.result(60)
    assert sent == ["j"]


def test_a_job_that_waits_somewhere_is_waited_for_however_long_its_state_stands(monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.02)
    waiting = job({"status": "QUEUED"})
    with pytest.raises(DeadlineExceeded):
        waiting.result(0.5)
    assert waiting._states.looks > 1


def test_why_nobody_takes_a_job_is_told_while_one_waits_and_when_one_gives_up(monkeypatch):
    monkeypatch.setattr(job_module, "UNSERVED_S", 0.05)
    monkeypatch.setattr(job_module, "_WORTH_ASKING_S", 0.05)
    waiting = job({"status": "QUEUED"})
    waiting._states.why = "no worker takes it: start one"
    with pytest.raises(DeadlineExceeded, match="no worker takes it: start one; the job stays in the queue"):
        waiting.result(0.5)
    assert set(waiting._states.lines) == {"no worker takes it: start one"}
    assert 2 <= len(waiting._states.lines) < 6, "asked again, at longer and longer intervals"


def test_where_nobody_can_be_asked_that_is_told(monkeypatch):
    monkeypatch.setattr(job_module, "_WORTH_ASKING_S", 0.05)
    waiting = job({"status": "QUEUED"})
    monkeypatch.setattr(waiting._states, "why_waiting", Mock(side_effect=CoordinatorUnavailable("no answer")))
    with pytest.raises(DeadlineExceeded) as late:
        waiting.result(0.1)
    assert late.value.way_out == (
        "it is not known whether a worker takes it: no answer; the job stays in the queue"
    )


def test_a_job_that_runs_is_not_said_to_wait(monkeypatch):
    monkeypatch.setattr(job_module, "UNSERVED_S", 0.01)
    monkeypatch.setattr(job_module, "_WORTH_ASKING_S", 0.01)
    running = job({"status": "STARTED"})
    running._states.why = "no worker takes it"
    with pytest.raises(DeadlineExceeded, match="it goes on"):
        running.result(0.1)
    assert running._states.lines == []


def test_who_gives_up_on_a_job_that_is_tried_again_is_told_why_it_failed():
    retried = job({**failure("Busy", "nothing is recounted yet", "", "try again in 9 s"), "status": "RETRY"})
    with pytest.raises(DeadlineExceeded) as late:
        retried.result(0.05)
    assert "trying again after: busy: nothing is recounted yet" in late.value.way_out
    assert "it goes on" in late.value.way_out


@pytest.mark.parametrize("gone", [False, True])
def test_whoever_waits_counts_while_it_looks_and_may_come_back_for_a_day(monkeypatch, gone):
    monkeypatch.setattr(job_module, "ATTEND_EVERY_S", 0.0)
    states = Told({"status": "STARTED"})
    states.gone = gone
    waiting = Job(states, "j", result=PullResult, recorded=True, waiter="me")
    with pytest.raises(DeadlineExceeded):
        waiting.result(0.05)
    assert set(states.attended[:-1]) == {("j", "me", WAITER_S)}
    assert states.attended[-1] == ("j", "me", DETACHED_S)


def test_a_short_look_costs_no_word_of_it():
    states = Told({"status": "STARTED"})
    with pytest.raises(DeadlineExceeded):
        Job(states, "j", result=PullResult, recorded=True, waiter="me").result(0.02)
    assert states.attended == []


def test_whoever_has_left_does_not_count_again(monkeypatch):
    monkeypatch.setattr(job_module, "ATTEND_EVERY_S", 0.0)
    states = Told({"status": "STARTED"})
    leaving = Job(states, "j", result=PullResult, recorded=True, waiter="me")
    assert leaving.withdraw().word == "ended"
    with pytest.raises(DeadlineExceeded):
        leaving.result(0.05)
    assert states.attended == [("j", "me", 0)]


def test_a_wider_job_that_fails_is_replaced_by_one_of_its_own_and_one_that_does_not_is_taken():
    def shared(*states):
        return Job(
            Told(*states), "wide", result=PullResult, recorded=True, joined=True, instead=lambda: "own"
        )

    taken = shared(DONE)
    assert (taken.result(30), taken.id, taken.joined) == (RESULT, "wide", True)
    replaced = shared(failure("BlobMissing", "x"), {"status": "QUEUED"}, DONE)
    assert (replaced.result(30), replaced.id, replaced.joined) == (RESULT, "own", False)
    with pytest.raises(CaskeeperError, match="y"):
        shared(failure("BlobMissing", "x"), failure("BlobMissing", "y")).result(30)


def test_whoever_gives_up_a_wider_job_gets_none_of_its_own():
    left = Job(
        Told(failure("Cancelled", "x")), "wide", result=PullResult, recorded=True, instead=lambda: "own"
    )
    left.withdraw()
    with pytest.raises(Cancelled):
        left.result(30)
    assert left.id == "wide"
