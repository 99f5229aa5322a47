"""Many clients, one artifact, one transfer: a part of `make test-queue-long`."""

from __future__ import annotations

import os
import time

import pytest
from harness.commands import until
from harness.process_tree import descendants
from harness.queue_trial_client import Crowd
from harness.queue_trial_fleet import trial_fleet, trial_folder
from harness.queue_trial_line import Line
from harness.queue_trial_published import published
from harness.queue_trial_report import record

CLIENTS = int(os.environ.get("CASKEEPER_TEST_QUEUE_CLIENTS", "50"))
PULL_BYTES = int(os.environ.get("CASKEEPER_TEST_PULL_BYTES", "200000000"))
REF = "trial/big/1"
#: So slow that every client has asked long before the end.
LINE_BYTES_PER_S = 15_000_000
#: What messages and their frames take beside the content.
MARGIN = 1.03


@pytest.fixture(scope="module")
def server():
    with trial_folder() as folder, published(f"{folder}/server", {REF: PULL_BYTES}, files=8) as url:
        yield url


def pulls(fleet):
    return fleet.executions("artifacts.pull")


def ask(fleet, *, meanwhile=lambda: None):
    """(the clients' answers, seconds from the word to the last answer)."""
    with Crowd(fleet.config, REF, count=CLIENTS) as crowd:
        began = time.monotonic()
        crowd.go()
        meanwhile()
        return crowd.answers(), time.monotonic() - began


def tell(title, fleet, line, answers, seconds):
    record(
        "single flight",
        {
            title: {
                "clients": len(answers),
                "got the result": sum(answer["outcome"] == "done" for answer in answers),
                "jobs": len({answer["job"] for answer in answers}),
                "executions": pulls(fleet).counts.total(),
                "bytes of the artifact": PULL_BYTES,
                "bytes from the server": line.bytes["down"],
                "seconds": round(seconds, 1),
            }
        },
    )


@pytest.mark.timeout(900)
def test_one_transfer_for_all(server):
    with Line(server, bytes_per_s=LINE_BYTES_PER_S) as line, trial_fleet(remote=line.url) as fleet:
        fleet.begin_workers(2)
        answers, seconds = ask(fleet)
        tell("nobody is killed", fleet, line, answers, seconds)
        assert {answer["outcome"] for answer in answers} == {"done"}
        assert len({answer["job"] for answer in answers}) == 1
        assert all(answer["result"]["pulled"] for answer in answers)
        assert pulls(fleet).counts.total() == 1
        assert PULL_BYTES <= line.bytes["down"] <= PULL_BYTES * MARGIN
        fleet.assert_sound()


@pytest.mark.timeout(900)
def test_one_result_for_all_when_the_worker_that_pulls_is_killed(server):
    with Line(server, bytes_per_s=LINE_BYTES_PER_S) as line, trial_fleet(remote=line.url) as fleet:
        fleet.begin_workers(2)

        def kill():
            until(lambda: line.bytes["down"] > PULL_BYTES / 3, wait_s=120)
            (execution,) = pulls(fleet).all
            worker = next(one for one in fleet.workers if execution.pid in descendants(one.pid))
            fleet.kill_worker(worker, whole=True)

        answers, seconds = ask(fleet, meanwhile=kill)
        tell("its worker is killed after a third", fleet, line, answers, seconds)
        assert {answer["outcome"] for answer in answers} == {"done"}
        assert len({answer["job"] for answer in answers}) == 1
        executions = pulls(fleet)
        assert (executions.counts.total(), executions.done.total()) == (2, 1)
        assert executions.overlaps() == []
        assert PULL_BYTES <= line.bytes["down"] <= 2 * PULL_BYTES * MARGIN
        fleet.assert_sound()
