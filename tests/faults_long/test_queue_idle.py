"""A quarter of an hour without a job, then one: a part of `make test-queue-long`."""

from __future__ import annotations

import os
import time

import pytest
from harness.queue_trial_fleet import trial_fleet
from harness.queue_trial_line import Line
from harness.queue_trial_remote import CountingServer
from harness.queue_trial_report import record
from harness.queue_trial_trees import ref_of

IDLE_S = float(os.environ.get("CASKEEPER_TEST_IDLE_SECONDS", "900"))
JOBS = 24
WAIT_S = 60


def pull_all(fleet, numbers):
    """All at once, so that every child has some of them; seconds of the slowest."""
    began = time.monotonic()
    jobs = [fleet.client.pull(ref_of("published", number)) for number in numbers]
    assert all(job.result(WAIT_S).pulled for job in jobs)
    return time.monotonic() - began


@pytest.mark.timeout(IDLE_S + 300)
def test_a_server_with_default_settings_has_nothing_against_an_idle_worker():
    """It would close the connection of a client that sends PINGs without calls more often than it likes."""
    with (
        CountingServer("idle") as server,  # of grpc.server, with nothing set that concerns connections
        Line(server.url) as line,
        trial_fleet(remote=line.url) as fleet,
    ):
        fleet.begin_workers(2)
        first_s = pull_all(fleet, range(JOBS))
        children = len({execution.pid for execution in fleet.executions().all})
        opened = line.opened
        before = {way: dict(counts) for way, counts in line.frames.items()}
        time.sleep(IDLE_S)
        still_open, pings = line.open, line.frames["up"]["PING"] - before["up"].get("PING", 0)
        again_s = pull_all(fleet, range(JOBS, 2 * JOBS))
        record(
            "idle",
            {
                "seconds without a job": round(IDLE_S),
                "children with a channel": children,
                "connections before": opened,
                "of them open afterwards": still_open,
                "PING frames of the workers meanwhile": pings,
                "GOAWAY frames of the server": line.frames["down"]["GOAWAY"],
                "what they said": line.goodbyes,
                f"seconds for {JOBS} pulls before": round(first_s, 2),
                f"seconds for {JOBS} pulls afterwards": round(again_s, 2),
                "connections made for those": line.opened - opened,
            },
        )
        assert still_open > 0, "nobody had a connection that a server could complain about"
        assert line.goodbyes == []
        assert line.frames["down"]["GOAWAY"] == 0
        assert fleet.lost_workers() == []
        assert fleet.bugs() == []
