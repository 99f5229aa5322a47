"""Redis dies, forgets or cuts its connections in the middle of work (I6): a scan and a wait, never data."""

from __future__ import annotations

import os
import random
import time

from harness.chaos import OperationsLog, Watch
from harness.commands import until
from harness.processes import WAIT_S, seconds_since

from caskeeper.artifact import Ref

BIG = "demo/big/1"
DOWN_S = 1.0


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
    assert watch.deleted_too_early == []
    assert BIG in set(fleet.oracle.refs())
    for worker in workers:
        fleet.consumes(worker)
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
    for worker in workers:
        fleet.consumes(worker)
    fleet.assert_sound()


def test_an_emptied_redis_deletes_nothing_until_builds_had_time_to_come_back(fleet, tell):
    """FLUSHALL, again and again, among commits and cleanups: what sessions require stays, the rest waits."""
    fleet.worker(), fleet.worker()
    chance = random.Random(7)
    sources = [_tree(fleet, number, chance) for number in range(12)]
    kept = [Ref.parse(f"demo/kept/{number}") for number in range(2)]
    fleet.client.commit(sources[0], *kept).result(WAIT_S)
    lost = []
    with fleet.client.session(on_lost=lost.append) as session, Watch(fleet, every_s=0.05) as watch:
        assert session.require(*kept) == tuple(kept)
        for turn in range(2):
            for number, source in enumerate(sources):
                fleet.client.commit(source, f"demo/e{number}/{turn}")
                if number % 3 == 2:
                    fleet.client.cleanup(target_bytes=0)
            until(lambda: fleet.coordination.operations.list())
            time.sleep(chance.uniform(0, 0.3))
            with fleet.guard, fleet.valkey.client() as client:
                client.flushall()
            _cleaned(fleet)
    assert watch.deleted_too_early == []
    assert watch.understated == []
    assert lost == []
    assert set(map(str, kept)) <= set(fleet.oracle.refs())
    epochs = {sample.epoch for sample in watch.samples if sample.epoch}
    assert len(epochs) == 3
    tell(f"{len(watch.samples)} looks, {sum(sample.waiting for sample in watch.samples)} while waiting")
    fleet.assert_sound()


def _cleaned(fleet):
    """A cleanup is done, which the waiting period holds up; until then jobs are refused or forgotten."""

    def cleaned():
        from caskeeper.errors import CaskeeperError

        try:
            return fleet.client.cleanup(target_bytes=0).result(WAIT_S)
        except CaskeeperError as refused:
            print("refused", refused)
            return None

    until(cleaned, wait_s=WAIT_S)


def _tree(fleet, number, chance):
    files = {f"own-{n}": chance.randbytes(30_000) for n in range(10)}
    return fleet.tree(f"src-{number}", {**files, "shared": b"s" * 100_000})


del os
