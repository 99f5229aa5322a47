"""Whatever stands where a job's state should counts as none, and is written over (caskeeper/states.py)."""

import json
import os
import signal

import pytest
import redis
from harness.commands import place_in
from harness.delivery_worker import WorkerProcess, pull, read_journal
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper import job as job_module
from caskeeper.errors import Cancelled, CoordinatorUnavailable, InvalidRequest
from caskeeper.queue import Queue, who_asks

WAIT_S = 60
JUNK = {
    "no JSON": b"garbage",
    "binary": b"\xff\xfe\x00",
    "a number": b"5",
    "a list": b"[]",
    "nothing in it": b"{}",
    "nested too deeply": b"[" * 100_000,
    "status no text": b'{"status": []}',
    "done without a result": b'{"status": "SUCCESS"}',
    "done with a list": b'{"status": "SUCCESS", "result": [1]}',
    "failed without an error": b'{"status": "FAILURE", "result": null}',
    "failed with a program": b'{"status": "FAILURE", "result": '
    b'{"exc_type": "system", "exc_module": "os", "exc_message": ["true"]}}',
    "tried again without an error": b'{"status": "RETRY", "result": 5}',
    "another type": None,
}


@pytest.fixture
def server():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def raw(server):
    with redis.Redis.from_url(server.url) as raw:
        yield raw


def spoil(raw, job, junk):
    place = f"celery-task-meta-{job.id}"
    raw.delete(place)
    if junk is None:
        raw.rpush(place, "x")
    else:
        raw.set(place, junk)


def test_a_worker_does_the_job_and_those_behind_it(server, queue, raw, tmp_path):
    jobs = [pull(queue, f"t/sleep/{number}e-9") for number in range(len(JUNK))]
    for job, junk in zip(jobs, JUNK.values(), strict=True):
        spoil(raw, job, junk)
    with WorkerProcess(server.url, str(tmp_path / "journal"), concurrency=1):
        for job, name in zip(jobs, JUNK, strict=True):
            assert job.result(WAIT_S).pulled, name


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_the_job_is_listed_and_cancelled(queue, raw, junk):
    job = pull(queue, "t/sleep/0")
    spoil(raw, job, junk)
    assert not job.done
    assert queue.record(job.id).state == "queued"
    assert job.cancel().word == "ended"
    with pytest.raises(Cancelled):
        job.result(WAIT_S)


def test_an_end_stays_one_whatever_a_late_execution_tells(queue):
    job = pull(queue, "t/sleep/0")
    assert job.cancel().word == "ended"
    queue._states.store_result(job.id, {"phase": "copying"}, "PROGRESS")
    assert queue.state(job.id)["status"] == "REVOKED"


def test_a_part_of_an_id_or_another_word_of_a_message_is_no_job(server, queue):
    job = pull(queue, "t/sleep/0")
    for word in ("", "t", "pull", job.id[:8], "artifacts.pull", "\udcff"):
        with pytest.raises(InvalidRequest, match="no job"):
            queue.cancel(word)
    assert not queue.is_nowhere(job.id)
    assert job.cancel().word == "ended"


def test_what_is_known_of_a_job_outlives_its_result_and_nobody_waits_for_that(tmp_path):
    with place_in(tmp_path) as place, WorkerProcess(place.valkey.url, f"{tmp_path}/journal"):
        queue = Queue(place.valkey.url)
        done, failed = pull(queue, "t/sleep/0"), pull(queue, "t/missing/x")
        until(lambda: queue.record(done.id).ended and queue.record(failed.id).ended, "both have ended")
        with place.valkey.client() as client:
            client.delete(f"celery-task-meta-{done.id}", f"celery-task-meta-{failed.id}")
        assert place.run("job", done.id, "--follow", timeout_s=15).returncode == 0
        told = place.run("job", failed.id, "--follow", timeout_s=15)
        assert (told.returncode, "ArtifactNotFound" in told.stdout) == (11, True)
        queue.close()


def test_who_waits_for_such_a_job_hears_of_it(queue, raw, monkeypatch):
    monkeypatch.setattr(job_module, "FORGOTTEN_S", 0.3)
    job = pull(queue, "t/sleep/0")
    raw.delete(f"celery-task-meta-{job.id}")
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        queue.job(job.id).result(WAIT_S)


@pytest.mark.parametrize("look", ["the record", "waiting"])
def test_a_job_whose_worker_is_killed_before_it_hears_of_the_end_ends(
    server, queue, tmp_path, monkeypatch, look
):
    """No other worker is there, and nobody cancels it again."""
    monkeypatch.setattr(job_module, "ATTEND_EVERY_S", 0.1)
    journal, ref = str(tmp_path / "journal"), "t/sleep/600"
    with WorkerProcess(server.url, journal) as worker:
        job = pull(queue, ref)
        until(lambda: read_journal(journal)["begin", ref] == 1, "it begins")
        os.killpg(worker.pid, signal.SIGKILL)
    assert job.cancel().word == "running"
    if look == "the record":
        until(lambda: queue.record(job.id).state == "cancelled", "it has ended")
    with pytest.raises(Cancelled):
        job.result(WAIT_S)
    record = queue.record(job.id)
    assert (record.state, record.cancelled_by) == ("cancelled", who_asks())


def test_what_is_shown_of_the_arguments_stays_short_when_a_job_is_tried_again(server, queue, raw, tmp_path):
    with WorkerProcess(server.url, str(tmp_path / "journal")):
        job = pull(queue, "t/busy/50")
        until(lambda: queue.record(job.id).retries >= 2 and raw.hlen("unacked"), "it is tried again")
        found = [json.loads(text)[0]["headers"] for text in raw.hvals("unacked")]
        job.cancel()
    assert {(one["argsrepr"], one["kwargsrepr"]) for one in found} == {("()", "t/busy/50")}
