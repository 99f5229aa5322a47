"""Real worker processes on a real server: every job once, whatever ends in the middle (queue.md 2).

What is kept here decides the design; the next release of the queue's libraries must not change it unseen.
"""

import json
import os
import signal
import time
import uuid

import pytest
from harness.delivery_worker import DELIVERY, WorkerProcess, read_journal, read_lines
from harness.process_tree import until
from harness.valkey import ValkeyServer

from caskeeper.contract import PullRequest, PullResult
from caskeeper.errors import ArtifactNotFound, Busy, CaskeeperError, CoordinatorUnavailable, DeadlineExceeded
from caskeeper.queue import Queue

WAIT_S = 60


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "journal")


def pull(queue, ref, **options):
    return queue.submit(PullRequest(ref=ref), PullResult, **options)


def begun(journal, ref, times=1):
    return until(lambda: read_journal(journal)["begin", ref] >= times, f"{ref} begins {times} times")


def runs_that_overlap(journal, ref):
    """Pairs of executions of one ref at the same time; an execution that was killed ends at its death."""
    lines = [line for line in read_lines(journal) if line["ref"] == ref]
    begins = [line for line in lines if line["event"] == "begin"]
    ends = {line["pid"]: line["at"] for line in lines if line["event"] == "end"}
    finished = [(line["at"], ends[line["pid"]]) for line in begins if line["pid"] in ends]
    return [(a, b) for a in finished for b in finished if a is not b and a[0] <= b[0] < a[1]]


def test_results_and_errors_arrive_as_what_they_were(server, queue, journal):
    with WorkerProcess(server.url, journal):
        fine, gone = pull(queue, "t/sleep/0"), pull(queue, "t/missing/x")
        assert fine.result(WAIT_S) == PullResult(pulled=True, cached=False, remote="t/sleep/0")
        assert queue.record(fine.id).state == "done"
        assert fine.done
        with pytest.raises(ArtifactNotFound) as missing:
            gone.result(WAIT_S)
        record = queue.record(gone.id)
        assert (record.state, record.error, record.alive) == ("failed", "ArtifactNotFound", False)
        assert missing.value.args == ("the test says so", "t/missing/x", "look elsewhere")
        with pytest.raises(CaskeeperError, match="RuntimeError: a bug of the test's") as bug:
            pull(queue, "t/bug/x").result(WAIT_S)
        assert bug.value.exit_code == 1
        assert read_journal(journal)["begin", "t/bug/x"] == 1, "a bug is not tried again"
        assert queue.job(fine.id).result(WAIT_S) == fine.result()


def test_who_lost_its_job_while_it_stood_still_puts_it_back_and_tells_no_failure(server, queue, journal):
    """Both have the same message: acknowledged by the one, it would not come back from the other."""
    ref = "t/late/x"
    with WorkerProcess(server.url, journal, concurrency=1) as first:
        job = pull(queue, ref)
        begun(journal, ref)
        os.killpg(first.pid, signal.SIGSTOP)
        with WorkerProcess(server.url, journal, concurrency=1) as second:
            begun(journal, ref, 2)
            write(f"{journal}.fail")
            os.killpg(first.pid, signal.SIGCONT)
            until(lambda: read_journal(journal)["fails", ref], "the first one fails")
            until(lambda: not queue.is_nowhere(job.id), "its message is back")
            assert not job.done
            os.killpg(second.pid, signal.SIGKILL)
            write(f"{journal}.end")
            assert job.result(WAIT_S).pulled
    assert queue.record(job.id).state == "done"


def write(path):
    with open(path, "w", encoding="utf-8"):
        pass


def test_a_transient_error_is_tried_again_and_a_lasting_one_is_the_result(server, queue, journal):
    with WorkerProcess(server.url, journal):
        assert pull(queue, "t/busy/1").result(WAIT_S).pulled
        assert read_journal(journal)["begin", "t/busy/1"] == 2


def test_a_bounded_number_of_tries(server, queue, journal):
    with WorkerProcess(server.url, journal, retries=1):
        with pytest.raises(Busy, match="the test says so"):
            pull(queue, "t/busy/99").result(WAIT_S)
        assert read_journal(journal)["begin", "t/busy/99"] == 2


def test_progress_is_seen_and_ends_with_the_job(server, queue, journal):
    with WorkerProcess(server.url, journal):
        seen = list(pull(queue, "t/report/2").follow(timeout_s=WAIT_S))
    done = [progress.done_bytes for progress in seen if progress.phase == "copying"]
    assert done
    assert done == sorted(done)
    assert seen[0].phase in {"queued", "started"}


def test_waiting_ends_at_its_deadline_and_the_job_goes_on(server, queue, journal):
    with WorkerProcess(server.url, journal):
        job = pull(queue, "t/sleep/1")
        with pytest.raises(DeadlineExceeded):
            job.result(0.2)
        assert job.result(WAIT_S).pulled


def test_unknown_arguments_are_an_error_of_the_sender(server, queue, journal):
    with WorkerProcess(server.url, journal):
        job_id = str(uuid.uuid4())
        queue._app.send_task("artifacts.pull", kwargs={"reff": "a/b/c"}, task_id=job_id)
        with pytest.raises(CaskeeperError, match="unknown argument 'reff'") as wrong:
            queue.job(job_id).result(WAIT_S)
        assert wrong.value.exit_code == 10


def test_the_job_of_a_killed_worker_is_done_by_another_within_seconds(server, queue, journal):
    ref = "t/stuck/1"
    with WorkerProcess(server.url, journal) as first:
        job = pull(queue, ref)
        begun(journal, ref)
        with WorkerProcess(server.url, journal) as second:
            os.killpg(first.pid, signal.SIGKILL)
            killed = time.time()
            assert job.result(WAIT_S).pulled
            begins = [line for line in read_lines(journal) if line["event"] == "begin"]
            assert len(begins) == 2
            assert begins[1]["at"] - killed < DELIVERY.visibility_timeout_s + 10
            assert second.end() == 0


def test_children_end_with_their_killed_worker(server, queue, journal):
    with WorkerProcess(server.url, journal) as worker:
        pull(queue, "t/sleep/600")
        begun(journal, "t/sleep/600")
        child = read_lines(journal)[0]["pid"]
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{child}"), "the child ends")


def test_a_killed_child_loses_nothing(server, queue, journal):
    ref = "t/sleep/2"
    with WorkerProcess(server.url, journal):
        job = pull(queue, ref)
        begun(journal, ref)
        os.kill(read_lines(journal)[0]["pid"], signal.SIGKILL)
        assert job.result(WAIT_S).pulled
        assert read_journal(journal)["begin", ref] == 2


@pytest.mark.parametrize(("ref", "looks"), [("t/unbegun/x", 1), ("t/untold/x", 0), ("t/unlooked/x", 1)])
def test_a_child_killed_between_two_steps_of_a_job_leaves_nothing_undone(server, queue, journal, ref, looks):
    with WorkerProcess(server.url, journal):
        job = pull(queue, ref)
        assert job.result(WAIT_S).pulled
        assert queue.record(job.id).state == "done", "noted in the step that stores the result"
        until(lambda: queue.taken() == 0, "it is acknowledged")
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled
        until(lambda: read_journal(journal)["look", ""] == looks + 1, "the next asks what the cache wants")
    assert read_journal(journal)["begin", ref] == 1, "what has ended is not done again"


def test_a_job_longer_than_the_visibility_time_runs_once(server, queue, journal):
    seconds = DELIVERY.visibility_timeout_s * 2
    ref = f"t/sleep/{seconds}"
    with WorkerProcess(server.url, journal), WorkerProcess(server.url, journal):
        job = pull(queue, ref)
        assert job.result(WAIT_S).pulled
        until(lambda: queue.taken() == 0, "it is acknowledged, and no copy waits")
    assert read_journal(journal)["begin", ref] == 1
    with open(f"{journal}.log", encoding="utf-8") as file:
        assert file.read().count(f"[{job.id}] received") == 1, "the heartbeat kept it from other workers"


def test_cut_connections_do_not_run_a_job_twice(server, queue, journal):
    ref = "t/sleep/4"
    with WorkerProcess(server.url, journal), WorkerProcess(server.url, journal):
        job = pull(queue, ref)
        begun(journal, ref)
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert job.result(WAIT_S).pulled
        until(lambda: queue.taken() == 0, "the redelivered copy goes")
        assert read_journal(journal)["begin", ref] == 1


def test_workers_outlive_a_killed_redis_and_finish_what_they_had(server, queue, journal):
    """The guard of tasks/transport.py: without it each of these kills may end a worker."""
    refs = [f"t/sleep/0.2{n}" for n in range(20)] + ["t/sleep/6"]
    with WorkerProcess(server.url, journal) as one, WorkerProcess(server.url, journal) as two:
        jobs = [pull(queue, ref) for ref in refs]
        for _ in range(2):
            time.sleep(1)
            server.kill()
            time.sleep(0.5)
            server.start()
        for job in jobs:
            assert job.result(WAIT_S).pulled
        assert one.process.poll() is None
        assert two.process.poll() is None
        until(lambda: queue.taken() == 0, "nothing is left over")
    assert [ref for ref in refs if runs_that_overlap(journal, ref)] == []


def test_a_worker_told_to_end_puts_its_job_back_at_once(server, queue, journal):
    ref = "t/sleep/5"
    with WorkerProcess(server.url, journal) as first:
        job = pull(queue, ref)
        begun(journal, ref)
        with WorkerProcess(server.url, journal):
            assert first.end() == 0
            assert read_journal(journal)["end", ref] == 0, "it did not wait for the job"
            assert job.result(WAIT_S).pulled
            assert read_journal(journal)["begin", ref] == 2


def test_a_job_that_kills_its_workers_is_given_up(server, queue, journal):
    with WorkerProcess(server.url, journal) as worker:
        with pytest.raises(CaskeeperError, match=r"began 3 times and its worker ended each time"):
            pull(queue, "t/crash/x").result(WAIT_S)
        assert read_journal(journal)["begin", "t/crash/x"] == DELIVERY.max_starts
        until(lambda: queue.taken() == 0, "nothing is delivered again")
        assert worker.process.poll() is None


def test_starts_that_were_put_back_do_not_count_as_deaths(server, queue, journal):
    ref = "t/sleep/4"
    job = pull(queue, ref)
    for n in range(DELIVERY.max_starts + 1):
        with WorkerProcess(server.url, journal) as worker:
            begun(journal, ref, n + 1)
            assert worker.end() == 0
    with WorkerProcess(server.url, journal):
        assert job.result(WAIT_S).pulled


def test_the_same_job_sent_twice_runs_once(server, queue, journal):
    job_id = str(uuid.uuid4())
    pull(queue, "t/sleep/1", job_id=job_id)
    job = pull(queue, "t/sleep/1", job_id=job_id)
    with WorkerProcess(server.url, journal):
        assert job.result(WAIT_S).pulled
        until(lambda: queue.taken() + sum(queue.lengths().values()) == 0, "both are gone")
    assert read_journal(journal)["begin", "t/sleep/1"] == 1


def test_lanes_are_served_in_their_order(server, queue, journal):
    from caskeeper.contract import LinkRequest

    with WorkerProcess(server.url, journal, concurrency=1):
        blocker = pull(queue, "t/sleep/1")
        begun(journal, "t/sleep/1")
        linked = [queue.submit(LinkRequest(ref=f"t/sleep/0.0{n}", key="k")) for n in range(3)]
        pulled = [pull(queue, f"t/sleep/0.1{n}") for n in range(3)]
        for job in (blocker, *pulled):
            job.result(WAIT_S)
        for job in linked:
            until(lambda: job.done, "the other lane is served too")  # noqa: B023 -- called at once
    order = [line["ref"] for line in read_lines(journal) if line["event"] == "begin"]
    first_pull = order.index("t/sleep/0.10")
    # One job of the other lane may have been fetched while the first one ran.
    assert sum(ref.startswith("t/sleep/0.0") for ref in order[:first_pull]) <= 1
    assert order[-2:] == ["t/sleep/0.01", "t/sleep/0.02"]


def test_messages_that_are_not_json_are_refused(server, queue, journal):
    with WorkerProcess(server.url, journal) as worker:
        queue._app.send_task("artifacts.pull", kwargs={"ref": "t/sleep/0"}, serializer="pickle")
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled
        assert worker.process.poll() is None
        until(lambda: queue.taken() == 0, "it is not delivered again")
    assert read_journal(journal)["begin", "t/sleep/0"] == 1


def test_sending_without_a_redis_says_so(tmp_path):
    queue = Queue(f"unix://{tmp_path}/nobody", patience_s=0.3)
    with pytest.raises(CoordinatorUnavailable, match="could not be sent"):
        pull(queue, "t/sleep/0")
    queue.close()


def test_a_job_that_redis_has_forgotten_is_reported(server, queue, monkeypatch):
    monkeypatch.setattr("caskeeper.job.FORGOTTEN_S", 0.3)
    job = pull(queue, "t/sleep/0")
    with server.client() as client:
        client.flushall()
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        job.result(WAIT_S)


def test_a_job_survives_that_redis_is_emptied_and_its_worker_killed(server, queue, journal):
    """The heartbeat stores the messages again that the worker holds."""
    ref = "t/sleep/6"
    with WorkerProcess(server.url, journal) as first:
        job = pull(queue, ref)
        begun(journal, ref)
        with server.client() as client:
            client.flushall()
            until(lambda: client.hlen("unacked") == 1, "the message is there again")
        os.killpg(first.pid, signal.SIGKILL)
        with WorkerProcess(server.url, journal):
            assert job.result(WAIT_S).pulled
            until(lambda: queue.taken() == 0, "nothing is left of the message")
    assert read_journal(journal)["begin", ref] == 2


def test_a_job_whose_message_was_lost_on_its_way_is_sent_again_by_whoever_waits_for_it(
    server, queue, journal, monkeypatch
):
    """A worker takes a message out of its queue in one step and keeps it in another: it may die between."""
    monkeypatch.setattr("caskeeper.job.FORGOTTEN_S", 0.5)
    job = pull(queue, "t/sleep/0")
    with server.client() as client:
        client.delete("caskeeper.pull")
    assert queue.is_nowhere(job.id)
    with WorkerProcess(server.url, journal):
        assert job.result(WAIT_S).pulled


def test_a_job_whose_message_redis_has_lost_is_reported_although_its_state_stands(
    server, queue, journal, monkeypatch
):
    monkeypatch.setattr("caskeeper.job.FORGOTTEN_S", 0.5)
    with WorkerProcess(server.url, journal) as worker:
        job = pull(queue, "t/report/600")
        begun(journal, "t/report/600")
        assert not queue.is_nowhere(job.id)
        os.killpg(worker.pid, signal.SIGKILL)
    waiting = pull(queue, "t/sleep/0")
    assert not queue.is_nowhere(job.id)
    assert not queue.is_nowhere(waiting.id)
    with server.client() as client:
        client.delete("unacked", "unacked_index")
    assert queue.state(job.id) is not None
    with pytest.raises(CoordinatorUnavailable, match="forgotten"):
        queue.job(job.id).result(WAIT_S)
    assert not waiting.done


def test_other_programs_see_the_state_in_the_queues_own_form(server, queue, journal):
    with WorkerProcess(server.url, journal):
        job = pull(queue, "t/sleep/0")
        job.result(WAIT_S)
        with server.client() as client:
            state = json.loads(client.get(f"celery-task-meta-{job.id}"))
    assert state["status"] == "SUCCESS"
    assert state["name"] == "artifacts.pull"
    assert state["result"] == PullResult(pulled=True, cached=False, remote="t/sleep/0").to_json()
