"""Many processes over one real server: the limit holds, one holds the lease, Redis' clock decides."""

import multiprocessing
import os
import time

import pytest

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination, Usage
from caskeeper.errors import CaskeeperError

PROCESSES = 8
LIMIT = 1000


@pytest.fixture
def coordination(valkey):
    made = Coordination.create(valkey.url, volume_id="v", epoch="e", used_bytes=0, leases=LeaseSettings())
    yield made
    made.close()


def in_processes(work):
    """``work(number)`` in forked children; the exit codes."""

    def child(number):
        try:
            os._exit(work(number))
        except CaskeeperError:
            os._exit(99)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(number,)) for number in range(PROCESSES)]
    for process in children:
        process.start()
    for process in children:
        process.join()
    return [process.exitcode for process in children]


def test_i5_reservations_of_eight_processes_never_pass_the_limit(coordination):
    def work(number):
        op_id = f"op{number}"
        epoch = coordination.operations.register(op_id, verb="v", subject="s", host="h")
        granted = 0
        while coordination.operations.reserve(op_id, epoch, 7, limit_bytes=LIMIT):
            granted += 1
            assert sum(coordination.usage.snapshot()[:2]) <= LIMIT
        return granted

    granted = in_processes(work)
    assert sum(granted) == LIMIT // 7
    assert coordination.usage.snapshot() == Usage(0, LIMIT // 7 * 7, 0, known=True)
    assert {record.id: record.reserved_bytes for record in coordination.operations.list()} == {
        f"op{number}": 7 * count for number, count in enumerate(granted)
    }


def test_the_sums_are_exact_after_eight_processes_reserved_and_settled(coordination):
    def work(number):
        for n in range(25):
            op_id = f"op{number}-{n}"
            epoch = coordination.operations.register(op_id, verb="v", subject="s", host="h")
            assert coordination.operations.reserve(op_id, epoch, 10, limit_bytes=10**9)
            assert coordination.operations.hold(op_id, epoch, refs=[op_id], roots=["shared"])
            coordination.operations.settle_part(op_id, epoch, 3, unreserve_bytes=4, number=1)
            assert coordination.operations.settle(op_id, epoch, 2)
        return 0

    assert in_processes(work) == [0] * PROCESSES
    added = PROCESSES * 25 * 5
    assert coordination.usage.snapshot() == Usage(added, 0, added, known=True)
    assert coordination.operations.list() == []
    assert coordination.maintenance.acquire("me", purpose="test")
    assert coordination.maintenance.condemn("me", "e", roots=["shared"], refs=[], keys=[]) == ""


def test_one_of_eight_processes_gets_the_lease_of_a_lost_state(coordination, valkey):
    with valkey.client() as raw:
        raw.flushall()

    def work(number):
        return 1 if coordination.maintenance.acquire(f"me{number}", purpose="recovery") else 0

    assert sum(in_processes(work)) == 1
    assert coordination.state().epoch is not None


def test_redis_time_decides_and_not_the_worker_s_clock(coordination, monkeypatch):
    coordination.operations.register("op", verb="v", subject="s", host="h")
    coordination.sessions.require("build", ["k"])
    assert coordination.maintenance.acquire("me", purpose="test")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10**6)
    assert coordination.maintenance.acquire("other", purpose="test") is None
    assert coordination.maintenance.mark_dying("me", "e") == []
    assert coordination.sessions.required_keys() == {"k": "build"}
    assert abs(coordination.now_ms() - real() * 1000) < 10**6
