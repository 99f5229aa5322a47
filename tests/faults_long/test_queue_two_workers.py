"""Two worker processes against one, on pulls and on commits: a part of `make test-queue-long`."""

from __future__ import annotations

import os
import shutil
import statistics
import time

import pytest
from harness.process_tree import descendants
from harness.queue_trial_fleet import trial_fleet, trial_folder
from harness.queue_trial_published import published, write_artifact
from harness.queue_trial_report import record

JOBS = int(os.environ.get("CASKEEPER_TEST_QUEUE_JOBS", "100"))
SIZE_BYTES = int(os.environ.get("CASKEEPER_TEST_QUEUE_BYTES", "20000000"))
ROUNDS = 3
WAIT_S = 300
CORES = len(os.sched_getaffinity(0))
_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def given():
    """(the url of a server that has the artifacts, folders to commit)."""
    with trial_folder() as folder:
        folders = [write_artifact(f"{folder}/source/{number}", SIZE_BYTES) for number in range(JOBS)]
        sizes = {f"trial/pulled/{number}": SIZE_BYTES for number in range(JOBS)}
        with published(f"{folder}/server", sizes) as url:
            yield url, folders


def cpu_seconds(fleet):
    """Of the workers and their children until now."""
    total = 0
    for pid in [pid for worker in fleet.workers for pid in descendants(worker.pid)]:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def timed(given, verb, workers):
    """(seconds, CPU seconds of the workers) for all jobs, on an empty volume."""
    url, folders = given
    with trial_fleet(remote=url) as fleet:
        fleet.config = fleet.configure("fleet", roots=[fleet.folder, os.path.dirname(folders[0])])
        fleet.begin_workers(workers, concurrency=1)
        client = fleet.client
        warm = write_artifact(f"{fleet.folder}/warm", 1_000_000)
        for number in range(2 * workers):
            client.commit(warm, f"trial/warm/{number}").result(WAIT_S)
        before, began = cpu_seconds(fleet), time.monotonic()
        if verb == "pull":
            jobs = [client.pull(f"trial/pulled/{number}") for number in range(JOBS)]
        else:
            jobs = [client.commit(path, f"trial/made/{n}") for n, path in enumerate(folders)]
        for job in jobs:
            job.result(WAIT_S)
        seconds, spent = time.monotonic() - began, cpu_seconds(fleet) - before
        by_worker = {execution.pid for execution in fleet.executions().all}
        assert len(by_worker) == workers, "all of them took part"
        shutil.rmtree(warm)
        return seconds, spent


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("verb", "target"), [("pull", 1.3), ("commit", 1.6)])
def test_two_workers_are_faster_than_one(given, verb, target):
    timed(given, verb, 1)  # memory that nobody has touched yet is slow
    taken = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, figures in taken.items():
            figures.append(timed(given, verb, workers))
    seconds = {workers: statistics.median(one[0] for one in figures) for workers, figures in taken.items()}
    spent = {workers: statistics.median(one[1] for one in figures) for workers, figures in taken.items()}
    ratio = seconds[1] / seconds[2]
    record(
        "two workers",
        {
            f"{JOBS} {verb}s of {SIZE_BYTES / 1e6:g} MB": {
                "one, s": round(seconds[1], 2),
                "two, s": round(seconds[2], 2),
                "one, CPU s": round(spent[1], 1),
                "two, CPU s": round(spent[2], 1),
                "ratio": round(ratio, 2),
                "target": target,
                "most that the cores allow": round(min(2.0, CORES * seconds[1] / spent[1]), 2),
            }
        },
    )
    assert ratio >= target, f"{taken}"
