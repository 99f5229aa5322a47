"""What bad remotes and a Redis that is away cost a hundred pulls: a part of `make test-queue-long`."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

import pytest
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.queue_trial_fleet import trial_fleet
from harness.queue_trial_remote import CountingServer
from harness.queue_trial_report import record
from harness.queue_trial_trees import ref_of

from caskeeper.client import Client
from caskeeper.config import load_settings
from caskeeper.errors import CaskeeperError

PULLS = 100
WAIT_S = 300
#: What trouble may add to all of them together.
MOST_S = 5.0


@contextmanager
def hanging():
    """Says what it can, and answers nothing else."""
    with LyingServer() as server:
        server.hangs |= {"GetReference", "FindMissingBlobs", "BatchReadBlobs", "Read"}
        yield server.url


BAD = {"black-holed": black_hole, "refused": nobody_listening, "hanging": hanging}


def pull_one_by_one(fleet, config):
    """(seconds for all, how they ended): as a build does it, each awaited before the next."""
    ended, began = {}, time.monotonic()
    with Client(load_settings(config)) as client:
        for number in range(PULLS):
            try:
                client.pull(ref_of("published", number)).result(WAIT_S)
                word = "pulled"
            except CaskeeperError as error:
                word = type(error).__name__
            ended[word] = ended.get(word, 0) + 1
    return time.monotonic() - began, ended


def measured(good, *bad):
    """The same with these remotes asked before the good one, on a new volume; said once for each of them."""
    with trial_fleet() as fleet:
        fleet.config = fleet.configure("fleet", artifacts=[{"url": url} for url in (*bad, good)])
        fleet.begin_workers(2)
        seconds, ended = pull_one_by_one(fleet, fleet.config)
        assert ended == {"pulled": PULLS}
        assert fleet.said("is left alone by") == len(bad)
        assert fleet.said("remote failed") == 0
        return seconds


def commands(fleet):
    """(seconds for all, their exit codes): as a Makefile does it, each command a process."""
    # A folder of their own: what others have found out about this Redis they do not know.
    own = f"{fleet.folder}/runtime"
    os.makedirs(own, mode=0o700, exist_ok=True)
    began = time.monotonic()
    called = [
        fleet.run("pull", "--detach", ref_of("published", number), XDG_RUNTIME_DIR=own)
        for number in range(PULLS)
    ]
    return time.monotonic() - began, {done.returncode for done in called}


@contextmanager
def killed(valkey):
    valkey.kill()
    yield
    valkey.start()


@contextmanager
def silent(valkey):
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


@pytest.mark.timeout(900)
def test_a_bad_remote_costs_a_build_five_seconds_at_most():
    with CountingServer("trouble") as good:
        plain = measured(good.url)
        taken = {}
        for name, make in BAD.items():
            with make() as url:
                taken[name] = measured(good.url, url)
    record(
        "trouble",
        {
            f"{PULLS} pulls, without trouble": {"seconds": round(plain, 2), "added": 0.0},
            **{
                f"{PULLS} pulls, the first of two remotes is {name}": {
                    "seconds": round(seconds, 2),
                    "added": round(seconds - plain, 2),
                }
                for name, seconds in taken.items()
            },
        },
    )
    assert {name: seconds for name, seconds in taken.items() if seconds - plain > MOST_S} == {}


@pytest.mark.timeout(900)
def test_only_bad_remotes_cost_a_build_five_seconds_at_most():
    with CountingServer("trouble") as good:
        plain = measured(good.url)
    taken = {}
    for name, make in BAD.items():
        with make() as url, trial_fleet(remote=url) as fleet:
            fleet.begin_workers(2)
            taken[name] = pull_one_by_one(fleet, fleet.config)
    record(
        "trouble",
        {
            f"{PULLS} pulls, the only remote is {name}": {
                "seconds": round(seconds, 2),
                "added": round(seconds - plain, 2),
                "ended with": [f"{word} {times}" for word, times in sorted(ended.items())],
            }
            for name, (seconds, ended) in taken.items()
        },
    )
    for name, (seconds, ended) in taken.items():
        assert seconds - plain <= MOST_S, f"{name}: {ended}"
        assert "pulled" not in ended


@pytest.mark.timeout(900)
@pytest.mark.parametrize("away", [killed, silent], ids=["killed", "silent"])
def test_a_redis_that_is_away_costs_a_build_five_seconds_at_most(away):
    with trial_fleet() as fleet:
        fleet.begin_workers(1)  # makes the volume
        assert fleet.end_worker(fleet.workers[0])[0] == 0
        plain, codes = commands(fleet)
        assert codes == {0}
        with away(fleet.valkey):
            seconds, ended = pull_one_by_one(fleet, fleet.config)
            called, codes = commands(fleet)
    how = f"Redis is {away.__name__}"
    record(
        "trouble",
        {
            f"{PULLS} pulls of one process, {how}": {
                "seconds": round(seconds, 2),
                "added": round(seconds, 2),
                "ended with": [f"{word} {times}" for word, times in sorted(ended.items())],
            },
            f"{PULLS} commands one after the other, {how}": {
                "seconds": round(called, 2),
                "added": round(called - plain, 2),
                "ended with": [f"exit code {code}" for code in sorted(codes)],
            },
        },
    )
    assert ended == {"CoordinatorUnavailable": PULLS}
    assert codes == {25}
    assert seconds <= MOST_S
    assert called - plain <= MOST_S
