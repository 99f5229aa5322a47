"""Cancelled: queued, without any worker, in a pull, in a push. A part of `make test-queue-long`."""

from __future__ import annotations

import time

import pytest
from harness.commands import until
from harness.queue_trial_fleet import trial_fleet, trial_folder
from harness.queue_trial_line import Line
from harness.queue_trial_published import published, write_artifact
from harness.queue_trial_report import record

from caskeeper.errors import Cancelled

SIZE_BYTES = 60_000_000
LINE_BYTES_PER_S = 10_000_000
OURS, THEIRS, OTHER = "trial/ours/1", "trial/theirs/1", "trial/theirs/2"
WAIT_S = 120
SOON_S = 2.0


@pytest.fixture(scope="module")
def server():
    sizes = {THEIRS: SIZE_BYTES, OTHER: 1_000_000}
    with trial_folder() as folder, published(f"{folder}/server", sizes, files=8) as url:
        yield url


@pytest.fixture
def line(server):
    with Line(server, bytes_per_s=LINE_BYTES_PER_S) as line:
        yield line


@pytest.fixture
def fleet(line):
    with trial_fleet(remote=line.url) as fleet:
        yield fleet


def cancelled(job):
    """Seconds from the word until everybody knows."""
    began = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(WAIT_S)
    return time.monotonic() - began


def left(fleet):
    """What an operation that was cancelled may not leave."""
    usage = fleet.coordination.usage.snapshot()
    return {
        "leases": len(fleet.coordination.operations.list()),
        "staged files": len(fleet.oracle.leavings()),
        "bytes reserved": usage.reserved_bytes,
        "bytes counted that are not there": usage.used_bytes - fleet.oracle.used_bytes(),
    }


def tell(title, fleet, seconds, **more):
    found = {"seconds until it had ended": round(seconds, 2), **left(fleet), **more}
    record("cancel", {title: found})
    assert not any(left(fleet).values()), found


def halfway(line, way):
    start = line.bytes[way]
    until(lambda: line.bytes[way] - start > SIZE_BYTES / 4, wait_s=60)


@pytest.mark.timeout(300)
def test_a_queued_job_does_not_run(fleet):
    fleet.begin_workers(1, concurrency=1)
    first = fleet.client.pull(THEIRS)
    until(lambda: fleet.executions("artifacts.pull").all)
    second = fleet.client.pull(OTHER)
    seconds = cancelled(second)
    assert first.result(WAIT_S).pulled
    fleet.quiet()
    tell("queued", fleet, seconds, executions=fleet.executions("artifacts.pull").counts.total() - 1)
    assert fleet.executions("artifacts.pull").counts.total() == 1
    assert seconds < SOON_S


@pytest.mark.timeout(300)
def test_a_job_that_was_queued_and_cancelled_without_any_worker_does_not_run_later(fleet):
    fleet.begin_workers(1)
    assert fleet.end_worker(fleet.workers[0])[0] == 0
    job = fleet.client.pull(THEIRS)
    seconds = cancelled(job)
    fleet.begin_workers(1)
    assert fleet.client.pull(OTHER).result(WAIT_S).pulled
    fleet.quiet()
    tell(
        "queued, no worker", fleet, seconds, executions=fleet.executions("artifacts.pull").counts.total() - 1
    )
    assert fleet.executions("artifacts.pull").counts.total() == 1
    assert seconds < SOON_S


@pytest.mark.timeout(300)
def test_a_running_pull_ends_and_leaves_nothing(fleet, line):
    fleet.begin_workers(1)
    job = fleet.client.pull(THEIRS)
    halfway(line, "down")
    seconds = cancelled(job)
    fleet.quiet()
    (execution,) = fleet.executions("artifacts.pull").all
    tell("running pull", fleet, seconds, executions=1)
    assert execution.outcome == "Cancelled"
    assert seconds < SOON_S
    assert not fleet.client.contains(THEIRS)
    assert fleet.client.pull(THEIRS).result(WAIT_S).pulled, "it may be asked for again"


@pytest.mark.timeout(300)
def test_a_running_push_ends_and_leaves_nothing(fleet, line):
    fleet.begin_workers(1)
    source = write_artifact(f"{fleet.folder}/source", SIZE_BYTES, files=8)
    fleet.client.commit(source, OURS).result(WAIT_S)
    job = fleet.client.push(OURS)
    halfway(line, "up")
    seconds = cancelled(job)
    fleet.quiet()
    (execution,) = fleet.executions("artifacts.push").all
    tell("running push", fleet, seconds, executions=1)
    assert execution.outcome == "Cancelled"
    assert seconds < SOON_S
    assert fleet.client.push(OURS).result(WAIT_S).pushed, "it may be asked for again"
