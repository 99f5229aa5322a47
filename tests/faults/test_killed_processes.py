"""Workers that end in the middle of a pull: the job is done all the same, and the volume is whole."""

from __future__ import annotations

import os
import signal
import time

from harness.chaos import Watch
from harness.dying_sweep import die_in_sweep
from harness.processes import WAIT_S, seconds_since

BIG = "demo/big/1"


def test_kill_9_of_one_of_two_workers_leaves_the_pull_to_the_other(fleet, served, tell):
    fleet.worker(), fleet.worker()
    with Watch(fleet) as watch:
        job = fleet.client.pull(BIG)
        killed, _child = fleet.owner_of(fleet.halfway(BIG, served.size_bytes))
        moment = time.monotonic()
        fleet.kill(killed)
        assert job.result(WAIT_S).pulled
        tell(f"{seconds_since(moment):.1f} s from kill -9 of the worker to the end, {watch.counted} looks")
    assert watch.understated == []
    assert BIG in set(fleet.oracle.refs())
    fleet.assert_sound()


def test_a_worker_killed_in_its_sweep_does_not_hold_up_the_sweep_of_the_other(fleet, served, tell):
    """It leaves the lock under which workers look for jobs of dead ones: by default for five minutes."""
    fleet.worker(), fleet.worker()
    job = fleet.client.pull(BIG)
    killed, _child = fleet.owner_of(fleet.halfway(BIG, served.size_bytes))
    with fleet.frozen():
        die_in_sweep(fleet.settings.redis)
        moment = time.monotonic()
        fleet.kill(killed)
    assert job.result(WAIT_S).pulled
    tell(f"{seconds_since(moment):.1f} s from kill -9 of the worker to the end")
    fleet.assert_sound()


def test_kill_9_of_the_child_alone_leaves_the_pull_to_the_next(fleet, served, tell):
    worker = fleet.worker()
    with Watch(fleet) as watch:
        job = fleet.client.pull(BIG)
        _worker, child = fleet.owner_of(fleet.halfway(BIG, served.size_bytes))
        moment = time.monotonic()
        os.kill(child, signal.SIGKILL)
        assert job.result(WAIT_S).pulled
        tell(f"{seconds_since(moment):.1f} s from kill -9 of the child to the end, {watch.counted} looks")
    assert watch.understated == []
    assert worker.poll() is None
    fleet.assert_sound()


def test_a_worker_told_to_end_hands_its_pull_to_another(fleet, served, tell):
    fleet.worker(), fleet.worker()
    with Watch(fleet) as watch:
        job = fleet.client.pull(BIG)
        told, _child = fleet.owner_of(fleet.halfway(BIG, served.size_bytes))
        moment = time.monotonic()
        told.send_signal(signal.SIGTERM)
        assert told.wait(WAIT_S) == 0
        ended = seconds_since(moment)
        assert job.result(WAIT_S).pulled
        tell(f"worker gone {ended:.1f} s after SIGTERM, pull done after {seconds_since(moment):.1f} s")
    assert watch.understated == []
    fleet.assert_sound()
