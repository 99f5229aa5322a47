"""One job for all who ask for the same, through real workers, whatever ends in the middle (queue.md 2.5)."""

import os
import signal
import threading
import uuid

import pytest
from harness.delivery_worker import MAINTENANCE, WorkerProcess, read_journal, read_lines
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    LinkRequest,
    PullRequest,
    PullResult,
)
from caskeeper.errors import ArtifactNotFound, CaskeeperError
from caskeeper.queue import Queue

WAIT_S = 60


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "journal")


def pull(queue, ref, **about):
    return queue.submit(PullRequest(ref=ref, **about), PullResult)


def begun(journal, ref, times=1):
    return until(lambda: read_journal(journal)["begin", ref] >= times, f"{ref} begins {times} times")


def test_many_who_ask_at_once_share_one_execution(server, queue, journal):
    ref, jobs = "t/sleep/1", []

    def ask():
        other = Queue(server.url)
        job = pull(other, ref)
        jobs.append((job.id, job.result(WAIT_S), other))

    with WorkerProcess(server.url, journal):
        threads = [threading.Thread(target=ask) for _ in range(10)]
        for thread in threads:
            thread.start()
        begun(journal, ref)
        late = pull(queue, ref)
        assert late.joined
        assert late.result(WAIT_S).remote == ref
        for thread in threads:
            thread.join()
    for _, _, other in jobs:
        other.close()
    assert len(jobs) == 10
    assert {job_id for job_id, _, _ in jobs} == {late.id}
    assert read_journal(journal)["begin", ref] == 1


def test_all_get_the_result_although_the_worker_is_killed(server, queue, journal):
    ref = "t/stuck/1"
    with WorkerProcess(server.url, journal) as first:
        jobs = [pull(queue, ref)]
        begun(journal, ref)
        jobs.append(pull(queue, ref))
        os.killpg(first.pid, signal.SIGKILL)
        jobs.append(pull(queue, ref))
        with WorkerProcess(server.url, journal):
            assert all(job.result(WAIT_S).pulled for job in jobs)
    assert len({job.id for job in jobs}) == 1
    assert read_journal(journal)["begin", ref] == 2


def test_a_whole_pull_does_for_a_part_and_when_it_fails_the_part_is_pulled_alone(server, queue, journal):
    with WorkerProcess(server.url, journal, concurrency=1):
        blocker = pull(queue, "t/sleep/1")
        begun(journal, "t/sleep/1")
        whole, part = pull(queue, "t/sleep/0"), pull(queue, "t/sleep/0", subdir="d")
        assert (part.id, part.joined) == (whole.id, True)
        broken, share = pull(queue, "t/missing/x"), pull(queue, "t/missing/x", excluded_subdirs=("d",))
        assert (share.id, share.joined) == (broken.id, True)
        assert part.result(WAIT_S).pulled
        for job in (broken, share):
            with pytest.raises(ArtifactNotFound):
                job.result(WAIT_S)
        assert (share.id == broken.id, share.joined) == (False, False)
        assert blocker.done
    assert read_journal(journal)["begin", "t/sleep/0"] == 1
    assert read_journal(journal)["begin", "t/missing/x"] == 2


def test_what_changes_something_is_shared_only_before_it_begins(server, queue, journal):
    ref = "t/sleep/2"
    with WorkerProcess(server.url, journal):
        first = queue.submit(LinkRequest(ref=ref, key="k"))
        begun(journal, ref)
        second = queue.submit(LinkRequest(ref=ref, key="k"))
        third = queue.submit(LinkRequest(ref=ref, key="k"))
        assert [job.joined for job in (first, second, third)] == [False, False, True]
        assert third.id == second.id != first.id
        until(lambda: second.done, "the second runs after the first")
    assert read_journal(journal)["begin", ref] == 2


def test_a_flight_whose_job_ended_without_a_word_is_not_joined(server, queue):
    """Killed at its time limit: the library stores the result, and nobody releases the flight."""
    first, other = pull(queue, "t/sleep/1"), pull(queue, "t/sleep/2")
    for job in (first, other):
        queue._states.mark_as_failure(job.id, RuntimeError("the test says so"))
    second = pull(queue, "t/sleep/1")
    assert second.id != first.id
    assert [each.id for each in queue.jobs(state="queued")] == [second.id]
    record = queue.record(first.id)
    assert (record.state, record.ended) == ("failed", True)
    with pytest.raises(CaskeeperError, match="the test says so"):
        first.result(WAIT_S)


def test_a_result_of_before_is_not_given_to_whoever_asks_anew(server, queue, journal):
    with WorkerProcess(server.url, journal):
        first = pull(queue, "t/sleep/0")
        first.result(WAIT_S)
        until(lambda: queue.record(first.id).ended, "it is released")
        second = pull(queue, "t/sleep/0")
        assert second.id != first.id
        second.result(WAIT_S)
    assert read_journal(journal)["begin", "t/sleep/0"] == 2


def test_other_programs_that_send_by_name_share_the_operation_and_the_log(server, queue, journal):
    """Interface section 2: a task by its name, without our client and without a version."""
    ref, job_id = "t/sleep/1", str(uuid.uuid4())
    with WorkerProcess(server.url, journal):
        queue._app.send_task("artifacts.pull", kwargs={"ref": ref}, task_id=job_id)
        begun(journal, ref)
        assert pull(queue, ref).id == job_id
        assert queue.job(job_id).result(WAIT_S).pulled
        until(lambda: queue.record(job_id).ended, "it is released")
    record = queue.record(job_id)
    assert (record.state, record.lane, record.subject, record.who) == ("done", "pull", ref, "")
    assert [each.id for each in queue.jobs()] == [job_id]


def test_a_payload_of_the_previous_version_is_understood(server, queue, journal):
    """Recorded: what a client of version 0 sent."""
    recorded = {"version": 0, "ref": "t/sleep/0", "subdir": None, "excluded_subdirs": [], "remotes": None}
    job_id = str(uuid.uuid4())
    with WorkerProcess(server.url, journal):
        queue._app.send_task("artifacts.pull", kwargs=recorded, task_id=job_id)
        assert queue.job(job_id).result(WAIT_S).pulled
        newer = str(uuid.uuid4())
        queue._app.send_task("artifacts.pull", kwargs={**recorded, "version": 2}, task_id=newer)
        with pytest.raises(CaskeeperError, match="payload version 2 is not understood"):
            queue.job(newer).result(WAIT_S)
        until(lambda: queue.record(newer).state == "failed", "the record says so")


def test_a_task_that_no_worker_knows_is_told_loudly_and_stands_in_the_log(server, queue, journal):
    job_id = str(uuid.uuid4())
    with WorkerProcess(server.url, journal) as worker:
        queue._app.send_task("artifacts.unheard_of", queue="caskeeper.pull", task_id=job_id)
        with pytest.raises(CaskeeperError, match="NotRegistered"):
            queue.job(job_id).result(WAIT_S)
        until(lambda: (record := queue.record(job_id)) is not None and record.ended, "it is recorded")
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled, "the lane goes on"
        assert worker.process.poll() is None
    assert "artifacts.unheard_of" in queue.record(job_id).sentence
    with open(f"{journal}.log", encoding="utf-8") as file:
        assert "task unknown, job lost" in file.read()


def test_what_kills_its_workers_is_given_up_with_the_reason_in_the_log_and_the_lane_goes_on(
    server, queue, journal
):
    with WorkerProcess(server.url, journal, concurrency=1):
        poison = pull(queue, "t/crash/x")
        after = pull(queue, "t/sleep/0")
        with pytest.raises(CaskeeperError, match="began 3 times and its worker ended each time"):
            poison.result(WAIT_S)
        assert after.result(WAIT_S).pulled
        until(lambda: queue.record(poison.id).ended, "it is recorded")
    record = queue.record(poison.id)
    assert (record.state, record.exit_code) == ("failed", 1)
    assert "its worker ended each time" in record.sentence


def test_maintenance_waits_for_its_turn_in_the_queue_without_retries_or_starts(server, queue, journal):
    with WorkerProcess(server.url, journal):
        first = queue.submit(CleanupRequest())
        begun(journal, MAINTENANCE)
        second = queue.submit(ComputeSizeRequest())
        until(
            lambda: queue.state(second.id).get("status") == "QUEUED" and queue.taken() == 2, "it is put back"
        )
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled, "it holds no child meanwhile"
        until(lambda: first.done and second.done, "both have had their turn")
        until(lambda: queue.taken() == 0, "nothing is left over")
        until(lambda: queue.record(second.id).ended, "it is recorded")
    lines = [line for line in read_lines(journal) if line["ref"] == MAINTENANCE]
    assert [line["event"] for line in lines] == ["begin", "end"] * 2
    record = queue.record(second.id)
    assert (record.state, record.starts, record.retries) == ("done", 1, 0)


def test_a_commit_that_waits_is_shared_and_another_folder_is_another_one(queue):
    one = queue.submit(CommitRequest(path="/a", refs=("t/sleep/0",)))
    same = queue.submit(CommitRequest(path="/a", refs=("t/sleep/0",)))
    other = queue.submit(CommitRequest(path="/b", refs=("t/sleep/0",)))
    assert same.id == one.id != other.id
    assert queue.record(one.id).waiters == 2
