"""What only so many may do at once in the whole fleet, and what a remote costs that does not answer."""

import pytest
from harness.commands import place_in, read
from harness.lying_server import black_hole
from harness.process_tree import until

from caskeeper import Client
from caskeeper.config import load_settings
from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import CleanupRequest, ComputeSizeRequest, PullRequest
from caskeeper.coordination import Coordination
from caskeeper.errors import Cancelled, Transient
from caskeeper.queue import QUEUED, Queue

WAIT_S = 60
MANY = 20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker with two children, a remote of which it gets one transfer at a time, and a silent one."""
    with place_in(tmp_path_factory.mktemp("limits")) as place, black_hole() as silent:
        _, place.remote = place.server()
        place.config = place.configure(
            queue={"max-transfers": "1"},
            artifacts={"url": place.remote, "push": True},
            projects={"silent": {"artifacts": {"servers": [{"url": silent}]}}},
        )
        place.process = place.worker()
        yield place


@pytest.fixture
def queue(fleet):
    queue = Queue(fleet.valkey.url)
    yield queue
    queue.close()


@pytest.fixture
def limits(fleet):
    coordination = Coordination.connect(fleet.valkey.url, volume_id=None, leases=LeaseSettings())
    yield coordination.limits
    coordination.close()


def commit(fleet, name):
    path = fleet.tree(name, {"file": name.encode() * 1000})
    with Client(load_settings(fleet.config)) as client:
        client.commit(path, f"test/{name}/k").result(WAIT_S)
    return f"test/{name}/k"


def test_maintenance_waits_for_the_one_that_runs_and_holds_no_child_meanwhile(fleet, queue, limits):
    assert limits.take("lane:maintenance", "another worker", limit=1, ttl_s=300.0)
    waiting = [queue.submit(request) for request in (CleanupRequest(), ComputeSizeRequest())]
    until(lambda: all(_went_back(queue, job) for job in waiting), "both were begun and went back")
    commit(fleet, "meanwhile")
    assert not any(job.done for job in waiting)
    assert limits.release("lane:maintenance", "another worker")
    for job in waiting:
        job.result(WAIT_S)
        record = until(lambda job=job: _ended(queue, job), "its worker has noted the end")
        assert (record.state, record.retries) == ("done", 0)


def _ended(queue, job):
    """Its record once it says so: the result comes first (tasks/delivery.py)."""
    record = queue.record(job.id)
    return record if record.ended else None


def _went_back(queue, job):
    record = queue.record(job.id)
    return record is not None and record.begun_ms and queue.state(job.id)["status"] == QUEUED


def test_a_transfer_waits_for_its_turn_says_so_and_can_be_cancelled(fleet, queue, limits):
    ref = commit(fleet, "turn")
    with Client(load_settings(fleet.config)) as client:
        client.push(ref).result(WAIT_S)
        client.remove(ref).result(WAIT_S)
    place = f"remote:{fleet.remote}"
    assert limits.take(place, "another worker", limit=1, ttl_s=300.0)
    job = queue.submit(PullRequest(ref=ref))
    for progress in job.follow(timeout_s=WAIT_S):
        if progress.phase == f"waiting for a turn at {fleet.remote}":
            break
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(WAIT_S)
    assert limits.release(place, "another worker")
    assert queue.submit(PullRequest(ref=ref)).result(WAIT_S).pulled
    assert not limits.release(place, "another worker")
    assert limits.take(place, "the next", limit=1), "the transfer gave its turn back"
    limits.release(place, "the next")


def test_a_silent_remote_is_waited_for_once_by_a_whole_build_and_named_once(fleet, queue):
    jobs = [queue.submit(PullRequest(ref=f"silent/element/{number}")) for number in range(MANY)]
    for job in jobs:
        with pytest.raises(Transient) as told:
            job.result(WAIT_S)
        assert told.value.exit_code in {20, 21}
        assert queue.record(job.id).retries == 0
    log = read(f"{fleet.folder}/worker-1.log")
    assert log.count("remote is left alone by all workers") == 1
