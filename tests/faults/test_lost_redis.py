"""Redis dies, forgets or cuts its connections in the middle of work (I6): a scan and a wait, never data."""

from __future__ import annotations

import random
import time

from harness.chaos import OperationsLog, Watch
from harness.commands import until
from harness.processes import WAIT_S, seconds_since

from caskeeper.artifact import Ref
from caskeeper.errors import Busy, CoordinatorUnavailable

BIG = "demo/big/1"
DOWN_S = 1.0
#: The longest lease, less what may pass between a new state and the first look at it.
WAITING_S = 3.0


def test_kill_9_of_redis_and_its_restart_do_not_end_a_pull(fleet, served, tell):
    workers = [fleet.worker(), fleet.worker()]
    with Watch(fleet) as watch:
        job = fleet.client.pull(BIG)
        fleet.halfway(BIG, served.size_bytes)
        moment = time.monotonic()
        fleet.valkey.kill()
        time.sleep(DOWN_S)
        fleet.valkey.start()
        assert job.result(WAIT_S).pulled
        tell(f"{seconds_since(moment):.1f} s from kill -9 of Redis ({DOWN_S} s away) to the end of the pull")
    assert watch.understated == []
    assert watch.deleted_within(WAITING_S) == []
    assert BIG in set(fleet.oracle.refs())
    assert [worker.poll() for worker in workers] == [None, None]
    fleet.assert_all_consume()
    fleet.assert_sound()


def test_cut_connections_do_not_run_a_pull_twice_at_once(fleet, served, tell):
    workers = [fleet.worker(), fleet.worker()]
    with OperationsLog(fleet) as log, Watch(fleet) as watch:
        job = fleet.client.pull(BIG)
        fleet.halfway(BIG, served.size_bytes)
        moment = time.monotonic()
        with fleet.valkey.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
        assert job.result(WAIT_S).pulled
        until(lambda: not fleet.client.queue.taken(), wait_s=WAIT_S)
        pulls, at_once = log.of("pull")
        tell(f"{seconds_since(moment):.1f} s from the cut to the end, {len(pulls)} operation(s)")
    assert at_once == 1
    assert watch.understated == []
    assert [worker.poll() for worker in workers] == [None, None]
    fleet.assert_all_consume()
    fleet.assert_sound()


def test_an_emptied_redis_deletes_nothing_until_builds_had_time_to_come_back(fleet, tell):
    """FLUSHALL in the middle of a cleanup, then of a commit: what sessions require stays, the rest waits."""
    fleet.worker(), fleet.worker()
    chance = random.Random(7)
    own, *sources = [_tree(fleet, number, chance) for number in range(41)]
    kept = [Ref.parse(f"demo/kept/{number}") for number in range(2)]
    fleet.client.commit(own, *kept).result(WAIT_S)
    lost = []
    with fleet.client.session(on_lost=lost.append) as session, Watch(fleet, every_s=0.05) as watch:
        assert session.require(*kept) == tuple(kept)
        for verb in ("cleanup", "commit"):
            jobs = [fleet.client.commit(source, f"demo/e{n}/made") for n, source in enumerate(sources)]
            if verb == "cleanup":
                for job in jobs:
                    job.result(WAIT_S)
                fleet.client.cleanup(target_bytes=0)
            _in_the_middle(fleet, len(kept), len(kept) + len(sources))
            with fleet.guard, fleet.valkey.client() as client:
                client.flushall()
            until(lambda: _cleaned(fleet), wait_s=WAIT_S)
    assert watch.deleted_within(WAITING_S) == []
    assert watch.understated == []
    assert lost == []
    assert set(fleet.oracle.refs()) == set(map(str, kept))
    epochs = {sample.epoch for sample in watch.samples if sample.epoch}
    assert len(epochs) == 3
    tell(f"{len(watch.samples)} looks")
    fleet.assert_sound()


def _in_the_middle(fleet, least, most):
    """Some of the refs are there, and more of them come or go."""
    deadline = time.monotonic() + 30
    while not least + 2 < len(set(fleet.oracle.refs())) < most - 2:
        assert time.monotonic() < deadline, "nothing was caught in the middle"


def _cleaned(fleet):
    """A cleanup was done: until the waiting period is over they are refused, and Redis forgets jobs."""
    try:
        return fleet.client.cleanup(target_bytes=0).result(WAIT_S)
    except (Busy, CoordinatorUnavailable):
        return None


def _tree(fleet, number, chance):
    files = {f"own-{n}": chance.randbytes(5_000) for n in range(10)}
    return fleet.tree(f"src-{number}", {**files, "shared": b"s" * 10_000})
