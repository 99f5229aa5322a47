"""worker.remote in a fleet: what one process finds out about a remote, the others know."""

import logging
import threading

import pytest
from harness.commands import until
from harness.coordination import fake_coordination
from harness.lying_server import LyingServer, black_hole, nobody_listening
from harness.remotes import ABSENT, HURRY, LARGE, SMALL, Code

from caskeeper.config.remotes import RemoteSpec
from caskeeper.digest import Digest
from caskeeper.errors import (
    Cancelled,
    ConfigInvalid,
    CoordinatorUnavailable,
    DeadlineExceeded,
    PermissionDenied,
    RemoteUnavailable,
)
from worker import status
from worker.errand import errand
from worker.remote import RemotePool
from worker.remote.breaker import Breaker
from worker.remote.failure import CallFailed
from worker.remote.methods import BATCH_READ, FIND_MISSING, GET_CAPABILITIES
from worker.remote.session import Session


@pytest.fixture
def fleet():
    """Makes the pools of several processes over one coordination."""
    coordination = fake_coordination()
    made = []

    def join(patience=HURRY):
        made.append(RemotePool(patience, breaker=Breaker(coordination.breakers)))
        return made[-1]

    join.coordination = coordination
    yield join
    for pool in made:
        pool.close()
    # What still looks ends with the connections of its pool, and speaks to the fleet's memory before it does.
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith(("looks at", "meets"))])
    coordination.close()


def use(pool, url):
    spec = RemoteSpec(url)
    pool.meet((spec,))
    return pool.get(spec).blobs.find_missing([ABSENT])


def test_what_one_process_waited_for_in_vain_no_other_one_asks(fleet, caplog):
    caplog.set_level(logging.WARNING)
    with black_hole() as url:
        with pytest.raises((DeadlineExceeded, RemoteUnavailable)) as first:
            use(fleet(HURRY._replace(probe_s=0.5)), url)
        assert first.value.settled
        # These would wait for five minutes.
        for _ in range(3):
            with pytest.raises((DeadlineExceeded, RemoteUnavailable), match="not asked again") as other:
                use(fleet(HURRY._replace(probe_s=300.0)), url)
            assert other.value.settled
            assert other.value.exit_code == first.value.exit_code
    told = [record.message for record in caplog.records]
    assert told == ["remote is left alone by all workers"]


def test_a_remote_in_use_that_another_process_found_dead_is_left_alone(fleet):
    with LyingServer(SMALL) as server:
        pool = fleet()
        assert use(pool, server.url) == {ABSENT}
        fleet.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=30.0)
        with pytest.raises(RemoteUnavailable, match="gone; not asked again"):
            use(pool, server.url)


def test_what_another_process_found_alive_is_used_again(fleet):
    with LyingServer(SMALL) as server:
        server.answers["GetCapabilities"] = Code.UNAVAILABLE
        server.times["GetCapabilities"] = 2
        first, second = fleet(), fleet()
        with pytest.raises(RemoteUnavailable):
            use(first, server.url)
        fleet.coordination.breakers.close(server.url)
        assert use(second, server.url) == {ABSENT}
        assert use(first, server.url) == {ABSENT}


def test_when_the_time_is_over_one_that_is_back_is_used_at_once(fleet):
    with LyingServer(SMALL) as server:
        fleet.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=0.0)
        assert use(fleet(), server.url) == {ABSENT}
        assert not fleet.coordination.breakers.read()[0].is_open


def test_one_that_is_back_and_refuses_is_not_said_to_be_silent(fleet):
    with LyingServer(SMALL) as server:
        server.answers["GetCapabilities"] = Code.UNAUTHENTICATED
        fleet.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=0.0)
        for pool in (fleet(), fleet()):
            with pytest.raises(PermissionDenied, match="UNAUTHENTICATED"):
                use(pool, server.url)
        assert not fleet.coordination.breakers.read()[0].is_open


def test_when_the_time_is_over_one_that_still_hangs_keeps_nobody(fleet):
    with black_hole() as url:
        fleet.coordination.breakers.open(url, RemoteUnavailable("gone"), first_s=0.0)
        for _ in range(3):
            with pytest.raises(RemoteUnavailable, match="gone; not asked again"):
                use(fleet(HURRY._replace(probe_s=300.0)), url)


@pytest.mark.parametrize("hangs", ["GetReference", "FindMissingBlobs", "BatchReadBlobs", "Read"])
def test_one_that_says_what_it_can_and_hangs_when_it_is_to_do_it_keeps_nobody(fleet, hangs):
    with LyingServer(SMALL) as server:
        server.hangs.add(hangs)
        server.greets = True
        spec = RemoteSpec(server.url, index="reference-storage")
        fleet.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=0.0)
        for _ in range(3):
            pool = fleet(HURRY._replace(probe_s=300.0))
            pool.meet((spec,))
            with pytest.raises(RemoteUnavailable, match="gone; not asked again"):
                pool.get(spec).index.resolve("project/element/key")
        assert fleet.coordination.breakers.read()[0].is_open


def test_one_that_still_hangs_in_its_work_is_left_alone_for_longer(fleet):
    with LyingServer(SMALL) as server:
        server.hangs.add("GetReference")
        fleet.coordination.breakers.open(server.url, RemoteUnavailable("gone"), first_s=0.0)
        fleet(HURRY._replace(probe_s=0.4)).meet((RemoteSpec(server.url, index="reference-storage"),))
        until(lambda: fleet.coordination.breakers.read()[0].failures == 2)


def test_what_fails_because_we_closed_the_connection_blames_no_remote(fleet):
    session = Session(RemoteSpec("http://127.0.0.1:1"), HURRY, Breaker(fleet.coordination.breakers))
    session.connection.close()
    failure = CallFailed(status.UNAVAILABLE, "the connection was closed here")
    assert not session.given_up(GET_CAPABILITIES, failure).settled
    assert fleet.coordination.breakers.read() == ()


def test_a_certificate_of_ours_is_no_matter_of_the_fleets(fleet, caplog):
    caplog.set_level(logging.WARNING)
    with LyingServer(SMALL) as server:
        with pytest.raises(ConfigInvalid):
            use(fleet(), server.url.replace("http:", "https:"))
        assert fleet.coordination.breakers.read() == ()
    assert [record.message for record in caplog.records] == ["remote is left alone by this process"]


def test_without_redis_each_process_has_its_own_memory_and_says_so_once(fleet, caplog):
    caplog.set_level(logging.WARNING)
    pool = fleet()
    fleet.coordination.close()
    broken = Breaker(_Unreachable())
    alone = RemotePool(HURRY, breaker=broken)
    with nobody_listening() as url:
        with pytest.raises(RemoteUnavailable):
            use(alone, url)
        with pytest.raises(RemoteUnavailable, match="not asked again"):
            use(alone, url)
    assert [record.message for record in caplog.records] == ["remote is left alone by this process"]
    with LyingServer(SMALL) as server:
        assert use(alone, server.url) == {ABSENT}
    alone.close()
    pool.close()


class _Unreachable:
    def __getattr__(self, name):

        def fail(*_args, **_options):
            raise CoordinatorUnavailable("Redis: refused")

        return fail


def test_a_name_is_not_looked_up_for_longer_than_a_dead_remote_costs(fleet):
    with LyingServer(SMALL) as server:
        server.hangs.add("GetReference")
        pool = fleet(HURRY._replace(probe_s=0.5, call_s=300.0))
        remote = pool.get(RemoteSpec(server.url, index="reference-storage"))
        with pytest.raises(DeadlineExceeded):
            remote.index.resolve("project/element/key")
        assert fleet.coordination.breakers.read()[0].is_open


@pytest.mark.parametrize("hangs", ["BatchReadBlobs", "FindMissingBlobs"])
def test_one_whose_storage_hangs_costs_no_more_than_a_dead_one_until_it_has_answered(fleet, hangs):
    with LyingServer(SMALL) as server:
        server.greets = True
        blobs = fleet(HURRY._replace(probe_s=0.5, call_s=300.0)).get(RemoteSpec(server.url)).blobs
        ask = {
            "BatchReadBlobs": lambda: blobs.read_batch([Digest.of(SMALL)]),
            "FindMissingBlobs": lambda: blobs.find_missing([ABSENT]),
        }[hangs]
        server.hangs.add(hangs)
        with pytest.raises(DeadlineExceeded):
            ask()
        assert fleet.coordination.breakers.read()[0].is_open


def test_one_that_has_answered_gets_all_the_time_of_a_call(server, opened):
    patience = HURRY._replace(probe_s=0.5, call_s=3.0)
    remote = opened(server.url, patience)
    assert remote.blobs.find_missing([ABSENT]) == {ABSENT}
    session = remote.sessions()[0]
    assert session.answer_s(FIND_MISSING, 100) == patience.call_s
    assert session.answer_s(BATCH_READ, 0) == patience.probe_s
    assert patience.probe_s < session.answer_s(BATCH_READ, patience.slowest_bytes_per_s) < patience.call_s


def test_a_job_that_is_to_stop_does_not_wait_for_a_call_that_hangs(server, opened):
    server.hangs.add("FindMissingBlobs")
    blobs = opened(server.url, HURRY._replace(call_s=300.0)).blobs
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise Cancelled("not wanted any more")

    threading.Timer(0.3, stop.set).start()
    with errand(check), pytest.raises(Cancelled, match="not wanted any more"):
        blobs.find_missing([ABSENT])


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_stream_that_stands_still_ends_with_its_job(server, opened, direction):
    server.stalls_after = 1_000_000
    blobs = opened(server.url, HURRY._replace(silence_s=300.0, call_s=300.0)).blobs
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise Cancelled("not wanted any more")

    def move():
        if direction == "down":
            list(blobs.read_stream(Digest.of(LARGE)))
        else:
            blobs.write_stream(Digest.of(LARGE), [LARGE])

    threading.Timer(0.3, stop.set).start()
    with errand(check), pytest.raises(Cancelled, match="not wanted any more"):
        move()


def test_the_budget_of_a_job_ends_its_calls_and_blames_no_remote(server, opened):
    server.hangs.add("FindMissingBlobs")
    blobs = opened(server.url, HURRY._replace(call_s=300.0)).blobs
    with (
        errand(lambda: None, budget_s=0.5),
        pytest.raises(DeadlineExceeded, match="used up its time") as late,
    ):
        blobs.find_missing([ABSENT])
    assert late.value.settled
    server.hangs.clear()
    assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


def test_attempts_and_pauses_end_with_the_budget(server, opened):
    server.answers["FindMissingBlobs"] = Code.UNAVAILABLE
    patience = HURRY._replace(attempts=1000, first_delay_s=0.2, longest_delay_s=0.2, call_s=300.0)
    blobs = opened(server.url, patience).blobs
    with errand(lambda: None, budget_s=0.6), pytest.raises((DeadlineExceeded, RemoteUnavailable)):
        blobs.find_missing([ABSENT])
    assert server.count("FindMissingBlobs") < 10
