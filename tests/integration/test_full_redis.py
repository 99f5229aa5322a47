"""A Redis that takes nothing any more: workers stay, and what they were just fetching is not lost."""

import os
import signal
import time

import pytest
from harness.delivery_worker import WorkerProcess, pull, read_journal
from harness.process_tree import until
from harness.valkey import ValkeyServer

WAIT_S = 60
REFUSALS = {"full": ("maxmemory", "1"), "without replicas": ("min-replicas-to-write", "5")}


@pytest.fixture
def server():
    with ValkeyServer(appendonly=True) as server:
        yield server


def refusing_while_it_fetches(server, worker, refusal, send):
    """The worker meets a Redis that refuses, with jobs in its queue."""
    with server.client() as client:
        until(lambda: client.zcard("unacked_index") == 0, "nothing is left of the job before")
        until(lambda: any("b" in one["flags"] for one in client.client_list()), "it waits for a message")
        os.kill(worker.pid, signal.SIGSTOP)
        sent = send()
        client.config_set(*refusal)
    os.kill(worker.pid, signal.SIGCONT)
    return sent


def taking_again(server, refusal):
    with server.client() as client:
        client.config_set(refusal[0], "0")


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_worker_outlives_it_and_does_what_it_was_fetching(server, queue, tmp_path, refusal):
    journal = str(tmp_path / "journal")
    refs = [f"t/sleep/0.{number}" for number in range(1, 4)]
    with WorkerProcess(server.url, journal, concurrency=1) as worker:
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled
        jobs = refusing_while_it_fetches(server, worker, refusal, lambda: [pull(queue, ref) for ref in refs])
        until(lambda: queue.lengths()["caskeeper.pull"] < len(refs), "it has fetched one")
        time.sleep(2)
        assert worker.process.poll() is None
        taking_again(server, refusal)
        assert all(job.result(WAIT_S).pulled for job in jobs)
        until(lambda: queue.taken() == 0, "nothing is left of the messages")
    assert [read_journal(journal)["begin", ref] for ref in refs] == [1, 1, 1]


def test_what_it_was_fetching_is_kept_as_soon_as_there_is_room(server, queue, tmp_path):
    """Killed after that it costs nothing: another worker does the job."""
    journal, ref, refusal = str(tmp_path / "journal"), "t/stuck/x", REFUSALS["full"]
    with WorkerProcess(server.url, journal, concurrency=1) as worker, server.client() as client:
        assert pull(queue, "t/sleep/0").result(WAIT_S).pulled
        job = refusing_while_it_fetches(server, worker, refusal, lambda: pull(queue, ref))
        until(lambda: client.llen("caskeeper.pull") == 0, "it has fetched it")
        assert client.hlen("unacked") == 0
        taking_again(server, refusal)
        until(lambda: client.hlen("unacked") == client.zcard("unacked_index") == 1, "it is kept")
        until(lambda: read_journal(journal)["begin", ref] == 1, "it begins")
        os.killpg(worker.pid, signal.SIGKILL)
        with WorkerProcess(server.url, journal, concurrency=1):
            assert job.result(WAIT_S).pulled
            until(lambda: client.hlen("unacked") == 0, "nothing is left of the message")
