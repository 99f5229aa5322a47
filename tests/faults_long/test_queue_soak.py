"""Ten thousand small jobs, and what they leave in memory: a part of `make test-queue-long`."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from contextlib import contextmanager, suppress

import pytest
from harness.commands import read, start, until
from harness.queue_trial_fleet import trial_fleet
from harness.queue_trial_memory import growth, sample, table
from harness.queue_trial_remote import RemoteProcess
from harness.queue_trial_report import record
from harness.queue_trial_trees import ref_of, trial_tree

JOBS = int(os.environ.get("CASKEEPER_TEST_SOAK_JOBS", "10000"))
REFS = 60
AT_ONCE = 32
WAIT_S = 120
STEPS = 10
#: Until then caches fill and the allocator finds its size; Flower keeps 3,000 tasks.
WARM, FLOWER_WARM = JOBS // 5, JOBS * 6 // 10
#: A worker with its children: this share of what it had when it was warm.
FLAT = 0.05
FLOWER_FLAT = 0.10
#: A result is kept for a day and a record for a week; Redis grows by no more than that for each job.
REDIS_BYTES_A_JOB = 4000
#: Queues and what workers hold have keys without an end, as long as there is something in them.
KEYS_OF_THE_MOMENT = 20


def answers(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def flower(fleet):
    """A real one; its process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = f"{fleet.folder}/flower.log"
    words = ["--config", fleet.config, "flower", "--listen", f"127.0.0.1:{port}"]
    with open(log, "w", encoding="utf-8") as file:
        process = start(*words, stdout=file, stderr=file)
    try:
        until(lambda: process.poll() is not None or answers(port), wait_s=60)
        assert process.poll() is None, read(log)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def prepare(fleet):
    """Refs that are here, and at the remote; a folder that was committed."""
    client, source = fleet.client, f"{fleet.folder}/source"
    trial_tree("soak", "committed", 1).write(source)
    client.commit(source, ref_of("committed", 1)).result(WAIT_S)
    for number in range(REFS):
        client.pull(ref_of("published", number)).result(WAIT_S)
    client.push(ref_of("committed", 1)).result(WAIT_S)
    return source


def kinds(client, source):
    """Small jobs whose work is done, without end: neighbours are never the same operation."""
    number = 0
    while True:
        ref, other = ref_of("published", number % REFS), ref_of("published", (number + 1) % REFS)
        yield lambda ref=ref: client.pull(ref)
        yield lambda ref=ref: client.extract(ref)
        yield lambda ref=ref, other=other: client.diff(ref, other)
        yield lambda key=f"k{number % REFS}": client.commit(source, f"trial/again/{key}")
        yield lambda ref=ref: client.push(ref)
        number += 1


@pytest.mark.timeout(3600)
def test_memory_does_not_grow_with_the_number_of_jobs():
    with RemoteProcess("soak") as remote, trial_fleet(remote=remote.url) as fleet:
        fleet.begin_workers(2)
        asks = kinds(fleet.client, prepare(fleet))
        with flower(fleet) as window:
            samples, began = [], time.monotonic()
            waiting, ended = deque(), set()
            while len(ended) < JOBS:
                while len(waiting) < AT_ONCE:
                    waiting.append(next(asks)())
                job = waiting.popleft()
                job.result(WAIT_S)
                ended.add(job.id)
                if len(ended) >= (len(samples) + 1) * JOBS // STEPS:
                    samples.append(sample(len(ended), fleet, window.pid))
            seconds = time.monotonic() - began
            for job in waiting:
                job.result(WAIT_S)
            lost = fleet.lost_workers()
        workers, redis = (
            growth(samples, "workers_bytes", since=WARM),
            growth(samples, "redis_bytes", since=WARM),
        )
        shown = growth(samples, "flower_bytes", since=FLOWER_WARM)
        record(
            "soak",
            {
                "Run": {
                    "jobs": len(ended),
                    "jobs a second": round(len(ended) / seconds, 1),
                    "workers that ended": len(lost),
                    f"workers' growth after {WARM:,} jobs, bytes": workers[0],
                    f"Flower's growth after {FLOWER_WARM:,} jobs, bytes": shown[0],
                    "Redis' growth, bytes a job": round(redis[1]),
                },
                "Memory": table(samples),
            },
        )
        assert lost == []
        assert workers[0] <= FLAT * samples[STEPS // 5 - 1].workers_bytes
        assert shown[0] <= FLOWER_FLAT * samples[STEPS * 6 // 10 - 1].flower_bytes
        assert redis[1] <= REDIS_BYTES_A_JOB
        assert samples[-1].lasting_keys - samples[STEPS // 5 - 1].lasting_keys < KEYS_OF_THE_MOMENT
