"""CLIENT KILL of every connection, again and again, under load: a part of `make test-queue-long`."""

from __future__ import annotations

import os

import pytest
from harness.queue_trial_effects import at_the_remote, on_the_volume, wanted
from harness.queue_trial_fleet import trial_fleet
from harness.queue_trial_load import Load
from harness.queue_trial_nemesis import CUT, QueueNemesis
from harness.queue_trial_remote import RemoteProcess
from harness.queue_trial_report import record

SEED = os.environ.get("CASKEEPER_TEST_QUEUE_SEED", "2019")
WORKERS = 2
TIMES = 30
#: A large artifact takes longer than the time after which a cut connection's jobs come again.
LINE_BYTES_PER_S = 1_000_000


@pytest.mark.timeout(900)
def test_no_operation_runs_twice_at_once_when_connections_are_cut():
    with (
        RemoteProcess(SEED, bytes_per_s=LINE_BYTES_PER_S) as remote,
        trial_fleet(remote=remote.url) as fleet,
    ):
        fleet.begin_workers(WORKERS)
        nemesis = QueueNemesis(fleet, seed=SEED)
        with Load(fleet, seed=SEED) as load:
            nemesis.strike({CUT: TIMES}, pause_s=(1.0, 4.0))
        want = wanted(load, SEED)
        wrong = [*on_the_volume(fleet.cachedir, want), *at_the_remote(remote.seen(), want)]
        executions = fleet.executions()
        again = sum(number > 1 for number in executions.done.values())
        record(
            "cut connections",
            {
                "workers, with two children each": WORKERS,
                "every connection cut, times": nemesis.faults[CUT],
                "jobs sent": len(load.jobs) - load.count("not sent"),
                "jobs succeeded": load.count("done"),
                "executions": len(executions.all),
                "most executions at once": executions.most_at_once,
                "one operation twice at once": len(executions.overlaps()),
                "operations carried out more than once": again,
                "refs or objects missing, too many or wrong": len(wrong),
                "workers that ended by themselves": nemesis.lost.total(),
            },
        )
        assert executions.most_at_once > 1, "there was a load"
        assert executions.overlaps() == []
        assert load.bugs == []
        assert load.failed == []
        assert wrong == []
        assert nemesis.lost == {}
        fleet.assert_all_consume()
        fleet.assert_sound()
        assert fleet.unfinished() == []
