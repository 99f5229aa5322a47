"""Who comes when all places at a remote are taken waits its turn, and is kept by nobody who died."""

import threading

import pytest
from harness.coordination import fake_coordination

from caskeeper.contract import CleanupRequest, PullRequest
from caskeeper.errors import Cancelled, CoordinatorUnavailable
from tasks.turns import NotYet, lane_turn
from worker.protocols import Context, quiet
from worker.remote.turns import Turns

URL = "http://cache:1"


@pytest.fixture
def limits():
    coordination = fake_coordination()
    yield coordination.limits
    coordination.close()


class Unreachable:
    def take(self, *_args, **_options):
        raise CoordinatorUnavailable("Redis: refused")

    release = take


def test_the_next_one_waits_says_so_and_goes_on_when_a_place_is_free(limits):
    here, there = Turns(limits, most=1), Turns(limits, most=1)
    said = threading.Event()
    phases, order = [], []

    def progress(shown):
        phases.append(shown.phase)
        said.set()

    def second():
        with there.at(URL, Context(progress=progress, check=lambda: None)) as turn:
            turn.need()
            order.append("second")

    with here.at(URL, quiet()) as turn:
        turn.need()
        other = threading.Thread(target=second)
        other.start()
        assert said.wait(10.0)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert set(phases) == {f"waiting for a turn at {URL}"}


def test_waiting_for_a_turn_can_be_cancelled(limits):
    def check():
        raise Cancelled("not wanted any more")

    turns = Turns(limits, most=1)
    with turns.at(URL, quiet()) as first:
        first.need()
        waiting = turns.at(URL, Context(progress=lambda _shown: None, check=check))
        with waiting as turn, pytest.raises(Cancelled):
            turn.need()


def test_whoever_only_asks_takes_no_place_and_one_verb_takes_one(limits):
    turns = Turns(limits, most=2)
    with turns.at(URL, quiet()):
        with turns.at(URL, quiet()) as first, turns.at(URL, quiet()) as second:
            first.need()
            first.need()
            second.need()
            assert not limits.take(f"remote:{URL}", "third", limit=2)
        assert limits.take(f"remote:{URL}", "third", limit=2)


def test_other_remotes_have_places_of_their_own(limits):
    turns = Turns(limits, most=1)
    with turns.at(URL, quiet()) as first, turns.at(f"{URL}1", quiet()) as second:
        first.need()
        second.need()


def test_several_threads_of_one_verb_share_its_place(limits):
    with Turns(limits, most=1).at(URL, quiet()) as turn:
        threads = [threading.Thread(target=turn.need) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not limits.take(f"remote:{URL}", "another", limit=1)


def test_a_turn_that_was_given_back_is_not_renewed(limits):
    with Turns(limits, most=1).at(URL, quiet()) as turn:
        turn.need()
        turn.renew()
        assert not limits.take(f"remote:{URL}", "another", limit=1)
    turn.renew()  # the thread that renews had seen it before it was given back
    assert limits.take(f"remote:{URL}", "another", limit=1)


@pytest.mark.parametrize("turns", [Turns(), Turns(Unreachable(), most=1)], ids=["no fleet", "no Redis"])
def test_without_a_fleet_or_a_redis_nobody_waits(turns):
    with turns.at(URL, quiet()) as first, turns.at(URL, quiet()) as second:
        first.need()
        second.need()


def test_one_maintenance_job_runs_and_the_next_goes_back_at_once(limits):
    with lane_turn(CleanupRequest, "one", limits):
        with pytest.raises(NotYet) as back, lane_turn(CleanupRequest, "two", limits):
            raise AssertionError("two at a time")
        assert back.value.pause_s > 0
        with lane_turn(PullRequest, "three", limits):
            pass
    with lane_turn(CleanupRequest, "two", limits):
        pass


def test_a_maintenance_job_that_fails_leaves_the_lane_to_the_next(limits):
    with pytest.raises(Cancelled), lane_turn(CleanupRequest, "one", limits):
        raise Cancelled("stop")
    with lane_turn(CleanupRequest, "two", limits):
        pass


def test_a_job_that_is_delivered_again_after_its_worker_died_goes_on_at_once(limits):
    assert limits.take("lane:maintenance", "one", limit=1)
    with lane_turn(CleanupRequest, "one", limits):
        pass


def test_without_redis_maintenance_is_left_to_the_lease_of_the_volume():
    with lane_turn(CleanupRequest, "one", Unreachable()), lane_turn(CleanupRequest, "two", Unreachable()):
        pass
