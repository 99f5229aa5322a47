"""A pull whose remote is left alone, whose job is to stop, or whose time is up."""

import logging
import threading

import pytest
from harness.coordination import fake_coordination
from harness.lying_server import LyingServer
from harness.memory_blobs import MemoryBlobs
from harness.services import fake_services

from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import PullRequest
from caskeeper.digest import Digest
from caskeeper.errors import Cancelled, DeadlineExceeded, RemoteUnavailable
from worker import errand
from worker.protocols import Context, quiet
from worker.remote import Patience, RemotePool
from worker.remote.breaker import Breaker
from worker.services import transfer
from worker.services.meter import Meter

REF = "project/element/key"
SLOW = Patience(probe_s=2.0, call_s=300.0, silence_s=300.0, attempts=2, first_delay_s=0.01)


@pytest.fixture
def server():
    with LyingServer() as running:
        yield running


@pytest.fixture
def services(tmp_path, server):
    coordination = fake_coordination()
    pool = RemotePool(SLOW, breaker=Breaker(coordination.breakers))
    spec = RemoteSpec(server.url, index="reference-storage")
    made = fake_services(tmp_path, specs=[spec], pool=pool, coordination=coordination)
    yield made
    made.close()


def test_a_build_hears_once_that_its_remote_is_left_alone(services, server, caplog):
    caplog.set_level(logging.INFO)
    services.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=60.0)
    for number in range(20):
        with pytest.raises(RemoteUnavailable, match="gone; not asked again") as told:
            services.run(PullRequest(ref=f"{REF}{number}"), quiet())
        assert told.value.settled
    assert not server.calls
    assert "remote failed" not in [record.message for record in caplog.records]


def test_a_pull_that_is_cancelled_while_its_remote_hangs_is_cancelled_and_blames_nobody(services, server):
    server.hangs.add("GetReference")
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise Cancelled("withdrawn")

    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled, match="withdrawn"):
        services.run(PullRequest(ref=REF), Context(progress=lambda _shown: None, check=check))
    assert services.coordination.breakers.read() == ()
    assert services.coordination.operations.list() == []


def test_a_job_whose_time_was_used_up_by_earlier_tries_asks_nobody(services, server):
    budget_s = services.settings.queue.job_budget_s
    with pytest.raises(DeadlineExceeded, match=f"its time of {budget_s:g} s") as late:
        services.run(PullRequest(ref=REF), quiet()._replace(spent_s=budget_s))
    assert late.value.settled
    assert not server.calls


class Stuck(MemoryBlobs):
    """Gives the first blob, and hangs in every other call until that is ended."""

    def __init__(self):
        super().__init__(batch_limit_bytes=0)
        self.ended = threading.Event()

    def read_stream(self, digest):

        with errand.under_way(self.ended.set):
            assert self.ended.wait(60.0)
        raise RemoteUnavailable("the call was ended")
        yield b""


def test_a_copy_that_is_to_stop_ends_the_calls_that_hang():
    source = Stuck()

    def check():
        raise Cancelled("withdrawn")

    context = Context(progress=lambda _shown: None, check=check)
    with pytest.raises(Cancelled, match="withdrawn"):
        transfer.copy(source, MemoryBlobs(), [Digest.of(b"a")], context=context, meter=Meter(context, "test"))
    assert source.ended.is_set()
