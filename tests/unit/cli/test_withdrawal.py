"""Leaving jobs: what becomes of each, and that it never takes long."""

import threading

from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import CoordinatorUnavailable
from tasks.cli.withdrawal import withdraw


class Leaving:
    """A job of which this becomes."""

    def __init__(self, job_id, outcome, *, done=False):
        self.id, self.done = job_id, done
        self._outcome = outcome

    def withdraw(self):
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def test_each_job_is_told_by_what_becomes_of_it():
    left = withdraw(
        [
            Leaving("queued", Withdrawal("ended")),
            Leaving("running", Withdrawal("running")),
            Leaving("shared", Withdrawal("waited", 2)),
            Leaving("done", Withdrawal("over")),
        ]
    )
    assert left.sentence() == (
        "no longer waiting; cancelled: queued; being ended: running; others wait, so it goes on: shared"
    )
    assert left.over == ["done"]
    assert withdraw([]).sentence() == ""
    assert withdraw([Leaving("done", Withdrawal("over"))]).sentence() == ""


def test_the_fate_of_one_job_is_a_clause():
    fates = [
        withdraw([Leaving("j", outcome)]).fate()
        for outcome in (Withdrawal("ended"), Withdrawal("running"), Withdrawal("waited", 1))
    ]
    assert fates == [
        "it was cancelled, for nobody else waits for it",
        "it is being ended, for nobody else waits for it",
        "it goes on, for 1 other waits for it; wait again or allow more time",
    ]


def test_a_job_without_a_record_is_over_only_when_it_has_ended():
    unknown = Withdrawal("unknown")
    left = withdraw([Leaving("old", unknown, done=True), Leaving("lost", unknown)])
    assert (left.over, left.lost) == (["old"], ["lost"])
    assert left.sentence() == "no longer waiting; Redis has lost the record, so it goes on: lost"
    assert left.fate() == "Redis has lost its record, so it goes on; wait again or allow more time"


def test_a_redis_that_cannot_be_told_is_said_and_asked_once():
    asked = []

    class Counted(Leaving):
        def withdraw(self):
            asked.append(self.id)
            return super().withdraw()

    gone = CoordinatorUnavailable("no answer")
    left = withdraw([Counted("a", Withdrawal("ended")), Counted("b", gone), Counted("c", gone)])
    assert asked == ["a", "b"]
    assert (left.cancelled, left.untold) == (["a"], ["b", "c"])
    assert left.sentence().endswith("Redis does not answer, so it goes on: b c")


def test_a_redis_that_hangs_is_not_waited_for():
    over = threading.Event()

    class Hanging(Leaving):
        def withdraw(self):
            over.wait(60)
            return super().withdraw()

    left = withdraw([Hanging("j", Withdrawal("ended"))], patience_s=0.1)
    over.set()
    assert (left.untold, left.cancelled) == (["j"], [])
