"""jobs, job, cancel, Ctrl-C and --timeout with real processes, with workers and without."""

import getpass
import signal

import pytest
from harness.commands import place_in, start, until
from harness.delivery_worker import WorkerProcess, read_journal

from caskeeper import Client
from caskeeper.errors import Cancelled


def test_without_any_worker_jobs_are_listed_told_and_cancelled(tmp_path):
    with place_in(tmp_path) as place, Client(config=place.config) as cache:
        assert "no job was sent yet" in place.run("jobs").stderr
        first = place.run("pull", "a/b/c", "--detach").stdout.strip()
        second = cache.commit(tmp_path, "a/b/d").id
        code, listed = place.ask("jobs")
        assert code == 0
        assert [(one["id"], one["state"], one["task"]) for one in listed["jobs"]] == [
            (second, "queued", "artifacts.commit"),
            (first, "queued", "artifacts.pull"),
        ]
        assert listed["jobs"][1]["who"].startswith(f"{getpass.getuser()}@")
        assert [one.id for one in cache.jobs(lane="pull")] == [first]
        assert [one.id for one in cache.jobs(limit=1)] == [second]
        table = place.run("jobs", "--lane", "pull").stdout.splitlines()
        assert table[1].split()[:4] == [first, "queued", "artifacts.pull", "a/b/c"]

        cancelled = place.run("cancel", first)
        assert (cancelled.returncode, cancelled.stdout) == (0, f"{first}: cancelled\n")
        code, told = place.ask("job", first)
        assert (code, told["state"]) == (0, "cancelled")
        assert told["cancelled_by"].startswith(f"{getpass.getuser()}@")
        assert place.run("job", first, "--follow").returncode == 26, "it exits as the job did"

        place.worker()
        until(lambda: cache.record(second).ended)
        assert cache.record(first).starts == 0, "a worker that comes later leaves it alone"


def test_an_id_that_nobody_knows_is_10_and_does_not_keep_the_others(tmp_path):
    with place_in(tmp_path) as place, Client(config=place.config) as cache:
        job = cache.pull("a/b/c")
        code, told = place.ask("job", "no-such-job")
        assert (code, told["error"]) == (10, "InvalidRequest")
        code, told = place.ask("cancel", "no-such-job", job.id)
        assert code == 10
        assert [one.get("outcome") for one in told["jobs"]] == [None, "cancelled"]


def test_what_was_done_and_why_something_failed_stays_known(fleet, tree):
    path, ref = tree
    with Client(config=fleet.config) as cache:
        committed, broken = cache.commit(path, ref).id, cache.extract("test/nobody/has-it").id
    followed = fleet.run("job", committed, "--follow")
    assert followed.returncode == 0, followed.stderr
    assert "state      done" in followed.stdout
    assert "result     root:" in followed.stdout
    code, told = fleet.ask("job", committed)
    assert (code, told["state"], told["result"]["files"], told["subject"]) == (0, "done", 4, ref)
    assert told["worker"]
    assert 0 < told["sent_ms"] <= told["begun_ms"] <= told["ended_ms"]
    assert fleet.run("job", broken, "--follow").returncode == 11
    code, told = fleet.ask("job", broken)
    assert (code, told["state"], told["error"], told["exit_code"]) == (0, "failed", "ArtifactNotFound", 11)
    line = next(line for line in fleet.run("jobs", "--state", "failed").stdout.splitlines() if broken in line)
    assert line.endswith(told["sentence"])


def test_ctrl_c_sigterm_and_a_timeout_cancel_what_nobody_else_waits_for(tmp_path):
    with place_in(tmp_path) as place:
        late = place.run("pull", "a/b/late", "--timeout", "0.5")
        assert late.returncode == 21
        assert "it was cancelled, for nobody else waits for it" in late.stderr
        callers = [start("--config", place.config, "pull", "a/b/shared") for _ in range(2)]
        for caller in callers:
            assert "queued" in caller.stderr.readline()
        with Client(config=place.config) as cache:
            (job,) = cache.jobs(state="queued")
            job_id = job.id
            assert (job.subject, cache.record(job_id).waiters) == ("a/b/shared", 2)
        told = []
        for caller, number in zip(callers, (signal.SIGINT, signal.SIGTERM), strict=True):
            caller.send_signal(number)
            told.append(caller.communicate(timeout=30)[1])
            assert caller.returncode == 128 + number
        assert f"others wait, so it goes on: {job_id}" in told[0]
        assert f"cancelled: {job_id}" in told[1]
        assert place.ask("job", job_id)[1]["state"] == "cancelled"


def test_a_follower_that_leaves_does_not_end_a_detached_job(tmp_path):
    with place_in(tmp_path) as place:
        job_id = place.run("pull", "a/b/c", "--detach").stdout.strip()
        follower = start("--config", place.config, "job", job_id, "--follow")
        assert "queued" in follower.stderr.readline()
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=30)
        assert follower.returncode == 130
        assert f"others wait, so it goes on: {job_id}" in err
        assert place.ask("job", job_id)[1]["state"] == "queued"


def test_what_runs_is_ended_by_cancel_and_by_the_ctrl_c_of_its_only_caller(tmp_path):
    with place_in(tmp_path) as place, Client(config=place.config) as cache:
        with WorkerProcess(place.valkey.url, f"{tmp_path}/journal"):
            caller = start("--config", place.config, "pull", "t/sleep/600")
            asked = cache.pull("t/sleep/601")
            (first,) = until(lambda: [one for one in cache.jobs(state="running") if "600" in one.subject])
            until(lambda: cache.record(asked.id).alive)
            caller.send_signal(signal.SIGINT)
            assert f"being ended: {first.id}" in caller.communicate(timeout=30)[1]
            assert caller.returncode == 130
            assert "is being ended" in place.run("cancel", asked.id).stdout
            for job_id in (first.id, asked.id):
                until(lambda job_id=job_id: cache.record(job_id).state == "cancelled")
            with pytest.raises(Cancelled):
                asked.result(timeout_s=5)
        journal = read_journal(f"{tmp_path}/journal")
        assert [journal["end", one] for one in ("t/sleep/600", "t/sleep/601")] == [0, 0]


def test_python_lists_and_cancels_too(tmp_path):
    with place_in(tmp_path) as place, Client(config=place.config) as cache:
        job, again = cache.pull("a/b/c"), cache.pull("a/b/c")
        assert (again.id, job.joined, again.joined) == (job.id, False, True)
        assert [one.id for one in cache.jobs(state="queued")] == [job.id]
        assert again.withdraw().word == "waited"
        assert job.cancel().word == "ended"
        assert cache.record(job.id).state == "cancelled"
        assert cache.cancel(job.id).word == "over"
        assert cache.record("no-such-job") is None
        until(lambda: job.done)
        with pytest.raises(Cancelled, match=job.id):
            job.result(timeout_s=5)
