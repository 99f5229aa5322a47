"""Cancelling: for good, at once, whoever runs it, and nothing is left behind (queue.md 2.7)."""

import os
import signal
import threading
import time
from unittest.mock import Mock

import pytest
import redis
from harness.delivery_worker import DELIVERY, WorkerProcess, pull, read_journal
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper import job as job_module
from caskeeper.errors import Cancelled, CoordinatorUnavailable, DeadlineExceeded, InvalidRequest
from caskeeper.queue import Queue, who_asks

WAIT_S = 60


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "journal")


def begun(journal, ref, times=1):
    return until(lambda: read_journal(journal)["begin", ref] >= times, f"{ref} begins {times} times")


def ended(queue, job):
    return until(lambda: queue.record(job.id).ended, "its record says that it ended")


def test_who_cancels_again_mends_an_end_that_nobody_could_be_told_of(queue, monkeypatch):
    job = pull(queue, "t/sleep/0")
    with monkeypatch.context() as away:
        away.setattr(queue._states, "mark_as_revoked", Mock(side_effect=ConnectionError("away")))
        with pytest.raises(CoordinatorUnavailable):
            job.cancel()
    assert not job.done
    assert job.cancel().word == "over"
    with pytest.raises(Cancelled):
        job.result(WAIT_S)


def test_a_queued_job_is_cancelled_while_no_worker_runs_and_never_begins(server, queue, journal):
    job = pull(queue, "t/sleep/0")
    assert job.cancel().word == "ended"
    with pytest.raises(Cancelled):
        job.result(WAIT_S)
    assert queue.record(job.id).cancelled_by == who_asks()
    server.kill()
    server.start()
    with WorkerProcess(server.url, journal):
        assert pull(queue, "t/sleep/0.1").result(WAIT_S).pulled
        until(lambda: queue.taken() + sum(queue.lengths().values()) == 0, "its message is gone")
    assert read_journal(journal)["begin", "t/sleep/0"] == 0
    assert queue.record(job.id).state == "cancelled"


def test_a_queued_job_is_cancelled_behind_a_running_one(server, queue, journal):
    with WorkerProcess(server.url, journal, concurrency=1):
        running, waiting = pull(queue, "t/sleep/1"), pull(queue, "t/sleep/0")
        begun(journal, "t/sleep/1")
        assert waiting.cancel().word == "ended"
        with pytest.raises(Cancelled):
            waiting.result(WAIT_S)
        assert running.result(WAIT_S).pulled
        until(lambda: queue.taken() == 0, "nothing is left over")
    assert read_journal(journal)["begin", "t/sleep/0"] == 0


def test_a_running_job_ends_and_the_next_who_asks_gets_one_of_its_own(server, queue, journal):
    ref = "t/sleep/600"
    with WorkerProcess(server.url, journal):
        job = pull(queue, ref)
        begun(journal, ref)
        assert job.cancel().word == "running"
        other = pull(queue, ref)
        assert other.id != job.id
        with pytest.raises(Cancelled):
            job.result(WAIT_S)
        ended(queue, job)
        begun(journal, ref, 2)
        assert other.cancel().word == "running"
        with pytest.raises(Cancelled):
            other.result(WAIT_S)
        until(lambda: queue.taken() == 0, "nothing is delivered again")
    record = queue.record(job.id)
    assert (record.state, record.error, record.exit_code) == ("cancelled", "Cancelled", 26)
    assert job.cancel().word == "over"


def test_a_running_job_is_listed_and_cancelled_also_after_redis_was_emptied(server, queue, journal):
    ref = "t/sleep/600"
    with WorkerProcess(server.url, journal), redis.Redis.from_url(server.url) as raw:
        job = pull(queue, ref)
        begun(journal, ref)
        raw.flushall()
        until(lambda: [found.id for found in queue.jobs(state="running")] == [job.id], "it is listed again")
        assert job.cancel().word == "running"
        with pytest.raises(Cancelled):
            job.result(WAIT_S)
        until(lambda: queue.taken() == 0, "nothing is delivered again")
    assert read_journal(journal)["begin", ref] == 1


def test_a_job_that_is_cancelled_while_its_killed_worker_is_followed_does_not_begin_again(
    server, queue, journal
):
    ref = "t/sleep/600"
    with WorkerProcess(server.url, journal) as first:
        job = pull(queue, ref)
        begun(journal, ref)
        os.killpg(first.pid, signal.SIGKILL)
        time.sleep(DELIVERY.lease_ttl_s)
        until(lambda: not queue.record(job.id).alive, "its lease is over")
        assert job.cancel().word == "ended"
        with WorkerProcess(server.url, journal):
            until(lambda: queue.taken() == 0, "its message is gone")
    assert read_journal(journal)["begin", ref] == 1
    with pytest.raises(Cancelled):
        job.result(WAIT_S)


def test_who_leaves_cancels_only_when_nobody_else_waits(server, queue):
    other = Queue(server.url)
    mine, theirs = pull(queue, "t/sleep/0"), pull(other, "t/sleep/0")
    assert mine.id == theirs.id
    assert mine.withdraw() == ("waited", 1)
    assert queue.record(mine.id).state == "queued"
    assert theirs.withdraw() == ("ended", 0)
    with pytest.raises(Cancelled):
        mine.result(WAIT_S)
    other.close()


def test_whoever_follows_a_job_of_others_waits_for_it_too_until_it_leaves(server, queue, monkeypatch):
    monkeypatch.setattr(job_module, "ATTEND_EVERY_S", 0.05)
    sent = pull(queue, "t/sleep/0")
    follower = queue.job(sent.id)
    watching = threading.Thread(target=lambda: list(follower.follow()), daemon=True)
    watching.start()
    until(lambda: queue.record(sent.id).waiters == 2, "both wait")
    assert sent.withdraw() == ("waited", 1)
    assert follower.withdraw().word == "ended"
    watching.join(WAIT_S)
    assert not watching.is_alive()


def test_giving_up_after_a_time_is_no_cancellation(queue):
    job = pull(queue, "t/sleep/0")
    with pytest.raises(DeadlineExceeded):
        job.result(0.1)
    record = queue.record(job.id)
    assert (record.state, record.waiters) == ("queued", 1)


def test_an_id_that_nobody_knows_is_an_error_of_the_caller(queue):
    with pytest.raises(InvalidRequest, match="no job 'nobody'"):
        queue.cancel("nobody")


def test_a_job_that_another_program_sent_is_cancelled_before_anybody_has_seen_it(server, queue, journal):
    queue._app.send_task("artifacts.pull", kwargs={"ref": "t/sleep/0"}, task_id="foreign")
    assert queue.cancel("foreign").word == "ended"
    with WorkerProcess(server.url, journal):
        until(lambda: queue.taken() + sum(queue.lengths().values()) == 0, "its message is gone")
    assert read_journal(journal)["begin", "t/sleep/0"] == 0
    with pytest.raises(Cancelled):
        queue.job("foreign").result(WAIT_S)
