"""Under load, Redis killed ten times and forty workers ended: a part of `make test-queue-long`."""

from __future__ import annotations

import os

import pytest
from harness.queue_trial_effects import at_the_remote, moved_again, on_the_volume, wanted
from harness.queue_trial_fleet import GRACE_S, trial_fleet
from harness.queue_trial_load import Load, seconds_at
from harness.queue_trial_nemesis import REDIS, SIGKILL, SIGTERM, QueueNemesis
from harness.queue_trial_remote import RemoteProcess
from harness.queue_trial_report import record

SEED = os.environ.get("CASKEEPER_TEST_QUEUE_SEED", "2019")
WORKERS = 3
LINE_BYTES_PER_S = 8_000_000
DECK = {REDIS: 10, SIGKILL: 20, SIGTERM: 20}


@pytest.mark.timeout(1800)
def test_whatever_is_killed_every_job_that_was_sent_succeeds_once():
    with (
        RemoteProcess(SEED, bytes_per_s=LINE_BYTES_PER_S) as remote,
        trial_fleet(remote=remote.url) as fleet,
    ):
        fleet.begin_workers(WORKERS)
        nemesis = QueueNemesis(fleet, seed=SEED)
        with Load(fleet, seed=SEED) as load:
            nemesis.strike(DECK)
        want, seen = wanted(load, SEED), remote.seen()
        wrong = [*on_the_volume(fleet.cachedir, want), *at_the_remote(seen, want)]
        executions = fleet.executions("artifacts.")
        pushed = moved_again(seen["uploads"], want.there | want.perhaps_there, executions.begun_again("refs"))
        pulled = moved_again(seen["downloads"], want.here | want.perhaps, executions.begun_again("ref"))
        bound = {ref for ref, times in seen["bound"].items() if times > 1}
        moved = {"uploaded": pushed, "downloaded": pulled}
        record("faults under load", _figures(load, nemesis, executions, moved, wrong))

        assert executions.most_at_once > 1, "there was a load"
        assert all(load.count("done", verb) > sum(DECK.values()) for verb in ("commit", "pull", "push"))
        assert load.bugs == []
        assert load.failed == []
        assert wrong == []
        assert executions.overlaps() == []
        assert nemesis.lost == {}, "workers ended though nobody told them to"
        assert nemesis.ended_badly == {}
        assert nemesis.slowest_end_s < GRACE_S
        assert bound - executions.begun_again("refs") == set(), "named twice at the remote without a cause"
        assert {way: without for way, (_again, without) in moved.items() if without} == {}
        fleet.quiet()  # after a loss of Redis' state no recount is done for a while: what is asked for next
        fleet.assert_all_consume()
        fleet.assert_sound()
        assert fleet.unfinished() == []
        assert fleet.bugs() == []
        assert [fleet.end_worker(worker)[0] for worker in list(fleet.workers)] == [0] * WORKERS


def _figures(load, nemesis, executions, moved, wrong):
    sent = [job for job in load.jobs if job.outcome != "not sent"]
    verbs = {
        verb: {
            "sent": sum(job.verb == verb for job in sent),
            "succeeded": load.count("done", verb),
            "client was refused": load.count("not sent", verb),
            "seconds, half": seconds_at([job for job in sent if job.verb == verb], 0.5),
            "slowest": seconds_at([job for job in sent if job.verb == verb], 1.0),
        }
        for verb in ("commit", "pull", "push")
    }
    return {
        "Run": {
            "seed": SEED,
            "workers, with two children each": WORKERS,
            "jobs sent": len(sent),
            "jobs succeeded": load.count("done"),
            "executions": len(executions.all),
            "executions broken off": sum(one.end is None or one.outcome != "done" for one in executions.all),
            "most executions at once": executions.most_at_once,
            "one operation twice at once": len(executions.overlaps()),
            "refs or objects missing, too many or wrong": len(wrong),
            **{f"blobs {way} more than once": len(again) for way, (again, _) in moved.items()},
            **{f"blobs {way} again without a cause": len(without) for way, (_, without) in moved.items()},
            "workers that ended by themselves": nemesis.lost.total(),
            "told to end and not ended with 0": sum(nemesis.ended_badly.values()),
            "slowest end after SIGTERM, s": round(nemesis.slowest_end_s, 1),
        },
        "Jobs": verbs,
        "Faults": dict(nemesis.faults),
    }
