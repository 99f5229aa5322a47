"""What was answered stays protected for a grace; a server that nobody asks holds up nothing."""

import os
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from harness.rolling import GRACE_S

from caskeeper.errors import CaskeeperError, CoordinatorUnavailable, LeaseLost
from worker.server import rolling as module
from worker.server.rolling import Rolling
from worker.store.promises import HEEDED, Promises


def test_what_was_answered_stays_protected_for_a_grace_and_no_folder_grows_much_older(rolling, desk, clock):
    answers = []
    for step in range(400):
        clock.now_s = step * GRACE_S / 40
        rolling.turn()
        with rolling.lent(lambda: None) as operation:
            answers.append((clock.now_s, operation))
        assert desk.oldest_s <= 1.3 * GRACE_S
        for answered_s, promised in answers:
            assert promised in desk.open or clock.now_s - answered_s >= GRACE_S


def test_a_server_that_nobody_asks_holds_up_no_eviction(rolling, desk, clock):
    rolling.turn()
    assert desk.open == []
    with rolling.lent(lambda: None):
        pass
    clock.now_s = 0.99 * GRACE_S
    rolling.turn()
    assert len(desk.open) == 1
    clock.now_s = GRACE_S
    rolling.turn()
    assert desk.open == []


def test_uploads_are_settled_in_parts_while_the_operation_goes_on(rolling, desk):
    with rolling.lent(lambda: None):
        pass
    rolling.turn()
    rolling.turn()
    assert [operation.parts for operation in desk.open] == [2]


@pytest.mark.parametrize("trouble", [LeaseLost("fenced"), CoordinatorUnavailable("down")])
def test_an_operation_that_cannot_be_settled_does_not_stop_the_others(desk, clock, volume, trouble):
    followed = []
    follower = SimpleNamespace(turn=lambda: followed.append("turn"), ended=lambda _operation: None)
    rolling = Rolling(
        desk, Promises(volume), subject="here", grace_s=GRACE_S, clock=clock, followers=[follower]
    )
    with rolling.lent(lambda: None) as first:
        pass
    clock.now_s = 0.5 * GRACE_S
    with rolling.lent(lambda: None) as second:
        assert second is not first
    first.settles_with = trouble
    rolling.turn()
    assert (second.parts, followed) == (1, ["turn"])
    rolling.turn()
    assert (first in desk.ended) == isinstance(trouble, LeaseLost)
    rolling.close()


def test_a_lost_operation_is_replaced_by_the_next_call(rolling, desk):
    with rolling.lent(lambda: None) as first:
        pass
    first.lost = True
    with rolling.lent(lambda: None) as second:
        assert second is not first
    rolling.turn()
    assert desk.open == [second]


def test_work_that_meets_a_lost_lease_is_done_again_under_a_new_operation(rolling):
    seen = []

    def work(operation):
        seen.append(operation)
        if len(seen) == 1:
            raise LeaseLost("fenced in the middle")
        return "done"

    assert rolling.run(work, stop=lambda: None) == "done"
    assert seen[0] is not seen[1]


def test_an_operation_in_use_outlives_its_time_and_after_two_graces_its_call_is_stopped(rolling, desk, clock):
    stopped = []
    with rolling.lent(lambda: stopped.append("stopped")) as held:
        for step in range(22):
            clock.now_s = step * GRACE_S / 10
            rolling.turn()
        assert held in desk.open
        assert stopped == []
        clock.now_s = 2.3 * GRACE_S
        rolling.turn()
        assert stopped == ["stopped"]
        assert held in desk.open, "it may leave in order"
        clock.now_s += module.LEAVE_S
        rolling.turn()
        assert stopped == ["stopped"]
        assert held in desk.ended
        assert held.used_on


def test_the_operation_of_a_stopped_call_that_left_is_as_any_other(rolling, desk, clock):
    with rolling.lent(lambda: None) as held:
        clock.now_s = 2.3 * GRACE_S
        rolling.turn()
        with rolling.lent(lambda: None) as other:
            assert other is not held
    rolling.turn()
    assert held in desk.ended
    assert not held.used_on


@contextmanager
def call_that_hangs(rolling, stop=lambda: None, **under):
    """One that does not leave when it is told to, until the test ends."""
    lent = rolling.lent(stop, **under)
    operation = lent.__enter__()
    try:
        yield operation
    finally:
        lent.__exit__(None, None, None)


def test_what_was_answered_beside_a_call_that_hangs_stays_protected_for_a_grace(rolling, desk, clock):
    with call_that_hangs(rolling) as held:
        with rolling.lent(lambda: None) as operation:
            assert operation is held
            clock.now_s = answered_s = 2.2 * GRACE_S
            rolling.turn()
        clock.now_s = 2.26 * GRACE_S
        rolling.turn()
        clock.now_s += module.LEAVE_S
        rolling.turn()
        assert held in desk.open
        clock.now_s = answered_s + 0.99 * GRACE_S
        rolling.turn()
        assert held in desk.open
        clock.now_s = answered_s + GRACE_S
        rolling.turn()
        assert held in desk.ended
        assert held.used_on


def test_a_call_that_was_stopped_prolongs_nothing_when_it_leaves(rolling, desk, clock):
    with call_that_hangs(rolling) as held:
        with rolling.lent(lambda: None):
            clock.now_s = answered_s = 2.2 * GRACE_S
        clock.now_s = 2.3 * GRACE_S
        rolling.turn()
    rolling.turn()
    assert held in desk.open
    clock.now_s = answered_s + GRACE_S
    rolling.turn()
    assert held in desk.ended
    assert not held.used_on


def test_under_an_operation_whose_calls_were_stopped_no_other_begins(rolling, desk, clock):
    with call_that_hangs(rolling) as held:
        with rolling.lent(lambda: None):
            clock.now_s = 2.2 * GRACE_S
        clock.now_s = 2.3 * GRACE_S
        rolling.turn()
        with pytest.raises(LeaseLost, match="is over"), rolling.lent(lambda: None, under=held):
            pass
        assert held in desk.open
        with rolling.lent(lambda: None) as other:
            assert other is not held


def test_an_operation_ends_though_calls_go_on_under_it_again_and_again(rolling, desk, clock):
    with rolling.lent(lambda: None) as held:
        pass
    for step in range(1, 400):
        clock.now_s = step * GRACE_S / 40
        rolling.turn()
        if held in desk.ended:
            break
        with suppress(LeaseLost), rolling.lent(lambda: None, under=held):
            pass
    assert clock.now_s <= 3.25 * GRACE_S + module.LEAVE_S


def test_an_operation_that_was_stopped_and_then_fenced_ends_as_soon_as_its_calls_had_time(
    rolling, desk, clock
):
    with call_that_hangs(rolling) as held:
        with suppress(LeaseLost), rolling.lent(lambda: None):
            clock.now_s = 2.2 * GRACE_S
            raise LeaseLost("fenced")
        clock.now_s = 2.3 * GRACE_S
        rolling.turn()
        assert held in desk.open
        clock.now_s += module.LEAVE_S
        rolling.turn()
        assert held in desk.ended


def test_without_redis_a_call_fails_and_what_was_answered_before_stays_protected(rolling, desk, clock):
    with rolling.lent(lambda: None) as first:
        pass
    desk.down = True
    clock.now_s = 0.5 * GRACE_S
    with pytest.raises(CoordinatorUnavailable), rolling.lent(lambda: None):
        pass
    assert desk.open == [first]


def promised(volume):
    return os.listdir(volume.layout.staging)


def test_a_promise_ends_with_its_operation_when_a_grace_has_passed(rolling, volume, clock):
    with rolling.lent(lambda: None):
        assert len(promised(volume)) == 1
    clock.now_s = 0.99 * GRACE_S
    rolling.turn()
    assert len(promised(volume)) == 1
    clock.now_s = GRACE_S
    rolling.turn()
    assert promised(volume) == []


def test_a_promise_outlives_the_server_and_a_lost_operation(rolling, volume, desk):
    with rolling.lent(lambda: None) as first:
        pass
    first.lost = True
    rolling.turn()
    with rolling.lent(lambda: None):
        pass
    rolling.close()
    assert desk.open == []
    assert len(promised(volume)) == 2


def test_a_promise_is_heeded_for_little_more_than_a_grace_and_then_removed(volume):
    promises = Promises(volume)
    path = promises.make()
    made_ns = os.stat(path).st_mtime_ns
    last_ns = made_ns + int(HEEDED * GRACE_S * 1e9)
    assert promises.heed(last_ns - 10**6, grace_s=GRACE_S) == [made_ns]
    assert promises.heed(last_ns + 10**6, grace_s=GRACE_S) == []
    assert promised(volume) == []
    promises.end(path)


def test_an_operation_that_can_promise_nothing_is_not_lent(rolling, volume, desk):
    os.rmdir(volume.layout.staging)
    with pytest.raises(CaskeeperError), rolling.lent(lambda: None):
        pass
    os.mkdir(volume.layout.staging)
    assert desk.open == []
