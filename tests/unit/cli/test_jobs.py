"""What `jobs` and `job` say about a record."""

import json
from types import SimpleNamespace
from typing import get_args

from caskeeper.contract import PullResult
from caskeeper.coordination.jobrecords import JobRecord, State
from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import CoordinatorUnavailable
from caskeeper.job import Job
from tasks.cli.cancel import cancel as cancel_command
from tasks.cli.invocation import Invocation
from tasks.cli.job import _lines
from tasks.cli.job import job as job_command
from tasks.cli.jobs import STATES, table, took, why

NOW_MS = 1_800_000_000_000


def record(**changes):
    return JobRecord(
        **{
            "id": "0b0f",
            "task": "artifacts.pull",
            "subject": "demo/app/k1",
            "lane": "pull",
            "who": "me@host",
            "sent_ms": NOW_MS - 60_000,
            "flight": "f",
            "state": "queued",
            "worker": "",
            "pid": 0,
            "begun_ms": 0,
            "ended_ms": 0,
            "starts": 0,
            "retries": 0,
            "error": "",
            "exit_code": 0,
            "sentence": "",
            "bytes": 0,
            "cancelled_by": "",
            "waiters": 0,
            "alive": False,
            **changes,
        }
    )


RUNNING = {"state": "running", "worker": "caskeeper@w1", "pid": 7, "begun_ms": NOW_MS - 30_000, "starts": 1}
FAILED = {
    **RUNNING,
    "state": "failed",
    "ended_ms": NOW_MS - 10_000,
    "error": "RemoteUnavailable",
    "exit_code": 20,
    "sentence": "remote unavailable: it is dead",
}


def test_the_states_that_can_be_asked_for_are_those_of_the_records():
    assert get_args(State) == STATES


def test_each_job_is_a_line_and_a_failure_says_why():
    lines = table([record(), record(**RUNNING, alive=True), record(**FAILED)], now_s=NOW_MS / 1000)
    assert len(lines) == 4
    assert lines[0].split() == ["JOB", "STATE", "TASK", "SUBJECT", "SENT", "TOOK", "WHO", "WHERE"]
    assert lines[1].split()[1:4] == ["queued", "artifacts.pull", "demo/app/k1"]
    assert lines[2].endswith("caskeeper@w1")
    assert "30 s" in lines[2]
    assert lines[3].endswith("caskeeper@w1  remote unavailable: it is dead")
    assert "20 s" in lines[3]
    assert table([], now_s=0.0) == []


def test_a_name_that_would_disturb_the_terminal_does_not():
    line = table([record(subject="\x1b[2J" + "x" * 100, who="\n")], now_s=NOW_MS / 1000)[1]
    assert line.isprintable()
    assert "x" * 70 not in line


def test_why_a_job_is_not_done_is_told_by_its_state():
    assert why(record()) == ""
    assert why(record(**RUNNING, alive=True)) == ""
    assert "not heard of" in why(record(**RUNNING, alive=False))
    assert why(record(**RUNNING, alive=True, cancelled_by="you@host")).endswith("cancelled by you@host")
    assert why(record(state="cancelled", cancelled_by="you@host")) == "by you@host"
    assert why(record(**{**FAILED, "state": "retrying"})) == "remote unavailable: it is dead"
    assert why(record(**{**FAILED, "state": "done", "sentence": "left over"})) == ""


def test_a_clock_that_is_behind_gives_no_negative_times():
    assert took(record(**RUNNING), NOW_MS / 1000 - 3600) == "0 s"
    assert took(record(), NOW_MS / 1000) == ""


def test_everything_known_of_one_job_is_told():
    told = "\n".join(_lines(record(**FAILED, retries=2, bytes=2048, subject="a\nb"), {}))
    for words in ("failed", "artifacts.pull, lane pull", "by me@host", "caskeeper@w1, process 7", "2 times"):
        assert words in told
    assert "after 20 s" in told
    assert "RemoteUnavailable, exit code 20" in told
    assert "why        remote unavailable: it is dead" in told
    assert "a\\nb" in told
    running = "\n".join(_lines(record(**{**RUNNING, "starts": 3}, waiters=2, alive=True), {}))
    assert "begun 3 times" in running
    assert "awaited    by 2 callers" in running
    done = _lines(record(**{**FAILED, "state": "done", "error": ""}), {"result": {"pulled": True}})
    assert done[-1] == "result     pulled: True"


def test_a_followed_job_whose_record_redis_has_lost_meanwhile_tells_its_result(capsys):
    state = {"status": "SUCCESS", "result": PullResult(pulled=True, cached=False).to_json()}
    records = [record(), None]
    invocation = Invocation(progress=False)
    invocation.__dict__["client"] = SimpleNamespace(
        record=lambda _job_id: records.pop(0),
        job=lambda job_id: Job(
            SimpleNamespace(state=lambda _job_id, **_: state), job_id, result=PullResult, recorded=True
        ),
    )
    assert job_command.main(["0b0f", "--follow"], obj=invocation, standalone_mode=False) == 0
    assert "pulled: True" in capsys.readouterr().out


def test_what_was_cancelled_before_redis_went_away_is_told_all_the_same(capsys):
    def cancel(job_id):
        if job_id != "1":
            raise CoordinatorUnavailable("it does not answer")
        return Withdrawal("ended")

    invocation = Invocation(json=True)
    invocation.__dict__["client"] = SimpleNamespace(cancel=cancel)
    assert cancel_command.main(["1", "2", "3"], obj=invocation, standalone_mode=False) == 25
    first, *others = json.loads(capsys.readouterr().out)["jobs"]
    assert first == {"job": "1", "outcome": "cancelled"}
    assert [(one["job"], one["error"]["error"]) for one in others] == [
        ("2", "CoordinatorUnavailable"),
        ("3", "CoordinatorUnavailable"),
    ]
