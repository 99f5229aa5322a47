"""Waiting for jobs: what is said about those that are left."""

from caskeeper.contract import ComputeSizeResult, Progress
from caskeeper.errors import DeadlineExceeded
from caskeeper.job import Job
from tasks.cli.invocation import Invocation
from tasks.cli.progress import Followed
from tasks.cli.waiting import Deadline, Sent, _name_left, wait


class Never:
    """States of a job that does not end."""

    def state(self, job_id):
        return {"status": "STARTED", "task_id": job_id}

    def why_waiting(self, state):
        return ""


def sent(job_id="j"):
    return Sent("", Job(Never(), job_id, result=ComputeSizeResult, recorded=True))


def test_a_timeout_is_told_as_it_was_asked_for():
    one = sent()
    wait(Invocation(progress=False), [one], verb="compute-size", deadline=Deadline(0.25))
    assert isinstance(one.error, DeadlineExceeded)
    assert "after 0.25 s" in str(one.error)


def test_ctrl_c_tells_what_runs_from_what_waits(capsys):
    shown = {name: Followed(name) for name in ("running", "waiting", "unseen")}
    shown["running"].see(Progress(phase="pull", total_bytes=9), 0.0)
    shown["waiting"].see(Progress(phase="queued"), 0.0)
    _name_left(Invocation(), [sent(name) for name in shown], shown)
    expected = "caskeeper: no longer waiting; goes on: running; in the queue: waiting unseen\n"
    assert capsys.readouterr().err == expected
    _name_left(Invocation(), [], shown)
    assert capsys.readouterr().err == ""
