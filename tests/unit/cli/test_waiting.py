"""Waiting for jobs: what is said about those that are left, and what becomes of them."""

import signal
import threading

import pytest

from caskeeper.contract import ComputeSizeResult
from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import DeadlineExceeded
from caskeeper.job import GOES_ON, STAYS, Job
from tasks.cli import waiting as waiting_module
from tasks.cli.failures import Ended
from tasks.cli.interrupt import unwound_by_sigterm
from tasks.cli.invocation import Invocation
from tasks.cli.waiting import Deadline, Sent, _without_future, sending, wait


class Never:
    """States of jobs that do not end by themselves."""

    def __init__(self, withdrawn=None, why=""):
        self.withdrawn, self.why = withdrawn or {}, why

    def state(self, job_id, *, bears_s=60.0):
        return {"status": "STARTED", "task_id": job_id}

    def why_waiting(self, state):
        return self.why

    def say(self, line):
        pass

    def is_nowhere(self, job_id):
        return False

    def attend(self, job_id, waiter, for_s):
        pass

    def withdraw(self, job_id, waiter):
        return self.withdrawn.get(job_id, Withdrawal("ended"))


def sent(job_id="j", states=None):
    job = Job(states or Never(), job_id, result=ComputeSizeResult, recorded=True, waiter="w")
    return Sent("", job)


def test_a_timeout_is_told_as_it_was_asked_for_and_cancels_what_nobody_else_waits_for():
    one = sent()
    wait(Invocation(progress=False), [one], verb="compute-size", deadline=Deadline(0.25))
    assert isinstance(one.error, DeadlineExceeded)
    assert "after 0.25 s" in str(one.error)
    assert one.error.way_out == "it was cancelled, for nobody else waits for it"


def test_a_timeout_leaves_a_job_alone_that_others_wait_for():
    one = sent(states=Never({"j": Withdrawal("waited", 2)}))
    wait(Invocation(progress=False), [one], verb="compute-size", deadline=Deadline(0.1))
    assert one.error.way_out == "it goes on, for 2 others wait for it; wait again or allow more time"


def test_a_timeout_still_says_why_the_job_has_not_ended():
    one = sent(states=Never(why="no worker takes it"))
    wait(Invocation(progress=False), [one], verb="pull", deadline=Deadline(0.7))
    assert one.error.way_out == "no worker takes it; it was cancelled, for nobody else waits for it"
    assert _without_future(f"trying again after: x; {GOES_ON}") == "trying again after: x; "
    assert (_without_future(GOES_ON), _without_future(f"a; {STAYS}")) == ("", "a; ")


def test_a_job_that_ends_while_its_caller_leaves_has_its_result():
    class Ending(Never):
        def state(self, job_id, *, bears_s=60.0):
            if self.withdrawn:
                return {"status": "SUCCESS", "result": {"used_bytes": 1, "estimate_bytes": 1}}
            return super().state(job_id)

        def withdraw(self, job_id, waiter):
            self.withdrawn = {job_id: True}
            return Withdrawal("over")

    one = sent(states=Ending())
    wait(Invocation(progress=False), [one], verb="compute-size", deadline=Deadline(0.1))
    assert (one.error, one.result.used_bytes) == (None, 1)


def test_a_timeout_ends_the_waiting_also_for_a_job_whose_record_or_result_is_lost(monkeypatch):
    monkeypatch.setattr(waiting_module, "_STORED_S", 0.1)
    for word, told in (("unknown", "Redis has lost its record"), ("over", "it goes on")):
        one = sent(states=Never({"j": Withdrawal(word)}))
        wait(Invocation(progress=False), [one], verb="pull", deadline=Deadline(0.1))
        assert isinstance(one.error, DeadlineExceeded)
        assert told in one.error.way_out


def interrupted_after(seconds):
    timer = threading.Timer(seconds, signal.raise_signal, [signal.SIGINT])
    timer.start()
    return timer


def test_ctrl_c_tells_what_becomes_of_each_job(capsys):
    states = Never({"runs": Withdrawal("running"), "shared": Withdrawal("waited", 1)})
    jobs = [sent(name, states) for name in ("runs", "shared", "queued")]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = interrupted_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        wait(Invocation(progress=False), jobs, verb="pull", deadline=Deadline(None))
    timer.join()
    assert capsys.readouterr().err == (
        "caskeeper: no longer waiting; cancelled: queued; being ended: runs; "
        "others wait, so it goes on: shared\n"
    )


def test_a_second_sigterm_does_not_cut_short_the_withdrawal_of_the_first():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(Ended), unwound_by_sigterm():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with unwound_by_sigterm():
            pass
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_while_jobs_are_sent_withdraws_from_those_that_are(capsys):
    jobs = [sent("first")]
    with pytest.raises(KeyboardInterrupt), sending(Invocation(), jobs):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "caskeeper: no longer waiting; cancelled: first\n"
