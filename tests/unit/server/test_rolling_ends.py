"""How the server's operations end: all of them, whatever happens, and soon when the server stops."""

import threading
import time
from types import SimpleNamespace

import pytest
from harness.rolling import GRACE_S

from caskeeper.errors import Cancelled, CoordinatorUnavailable, LeaseLost
from worker.server import rolling as module
from worker.server.rolling import Rolling
from worker.store.promises import Promises


def three_operations(rolling, clock):
    """One after another; nobody uses them any more."""
    for step in range(3):
        clock.now_s = 0.3 * step * GRACE_S
        with rolling.lent(lambda: None):
            pass


def ended_by(operation):
    try:
        operation.check()
    except Cancelled:
        return True
    return False


def test_a_bug_in_the_end_of_one_operation_leaves_none_alive(desk, clock, volume):
    met = []

    def ended(operation):
        met.append(operation)
        if len(met) == 1:
            raise OSError("close")

    follower = SimpleNamespace(turn=lambda: None, ended=ended)
    rolling = Rolling(
        desk, Promises(volume), subject="here", grace_s=GRACE_S, clock=clock, followers=[follower]
    )
    for now_s in (0.0, 0.5 * GRACE_S):
        clock.now_s = now_s
        with rolling.lent(lambda: None):
            pass
    clock.now_s = 3 * GRACE_S
    rolling.turn()
    assert len(met) == 2
    assert set(desk.ended) == set(met)
    rolling.close()


def test_its_end_waits_for_calls_that_leave(rolling, desk, monkeypatch):
    monkeypatch.setattr(module, "LEAVE_S", 60.0)
    left = threading.Event()

    def call():
        with rolling.lent(lambda: None) as operation:
            left.set()
            while not ended_by(operation):
                time.sleep(0.001)

    thread = threading.Thread(target=call)
    thread.start()
    left.wait()
    rolling.close()
    thread.join()
    assert [operation.used_on for operation in desk.ended] == [False]


def test_operations_end_beside_one_another_so_one_silence_of_redis_is_waited_for(rolling, desk, clock):
    all_there = threading.Barrier(3, timeout=10.0)
    desk.at_end = all_there.wait
    three_operations(rolling, clock)
    rolling.close()
    assert len(desk.ended) == 3


def test_a_server_that_ends_leaves_off_settling(rolling, desk, clock):
    three_operations(rolling, clock)
    first, *others = desk.open
    settling = threading.Event()

    def settle_part():
        settling.set()
        while not ended_by(first):
            time.sleep(0.001)

    first.settle_part = settle_part
    turn = threading.Thread(target=rolling.turn)
    turn.start()
    settling.wait()
    rolling.close()
    turn.join()
    assert [operation.parts for operation in others] == [0, 0]


def test_a_turn_that_meets_the_end_leaves_everything_to_it(rolling, desk, clock):
    """Else its operations would end before the others, with a silence of Redis for themselves."""
    three_operations(rolling, clock)
    clock.now_s = 3 * GRACE_S
    closing = threading.Thread(target=rolling.close)
    with rolling.lent(lambda: None) as operation:
        closing.start()
        while not ended_by(operation):
            time.sleep(0.001)
        rolling.turn()
        assert desk.ended == []
    closing.join()
    assert len(desk.ended) == 4


def test_where_no_thread_can_be_started_operations_end_one_after_another(rolling, desk, clock, monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    three_operations(rolling, clock)
    opened = list(desk.open)
    monkeypatch.setattr(threading.Thread, "start", start)
    rolling.close()
    assert sorted(map(id, desk.ended)) == sorted(map(id, opened))


def test_trouble_in_the_end_of_operations_is_told_and_ends_the_others(rolling, desk, clock, caplog):
    troubles = [CoordinatorUnavailable("down"), LeaseLost("fenced"), ValueError("a bug")]
    guard = threading.Lock()

    def at_end():
        with guard:
            trouble = troubles.pop()
        raise trouble

    desk.at_end = at_end
    three_operations(rolling, clock)
    with caplog.at_level("INFO"):
        rolling.close()
    assert sorted(record.message for record in caplog.records) == [
        "bug in the end of a rolling operation",
        "rolling operation not settled",
        "rolling operation was fenced",
    ]
    desk.open.clear()  # the troubles left them there


def test_an_operation_that_ends_beside_a_call_is_told_of_it(rolling, desk, monkeypatch):
    monkeypatch.setattr(module, "LEAVE_S", 0.0)
    with rolling.lent(lambda: None):
        rolling.close()
    assert [operation.used_on for operation in desk.ended] == [True]


def test_once_it_ends_a_call_that_waits_is_broken_off_and_none_begins_another_operation(rolling, desk):
    with rolling.lent(lambda: None) as operation:
        rolling.close()
        with pytest.raises(Cancelled, match="the server stops"):
            operation.check()
    with pytest.raises(Cancelled), rolling.lent(lambda: None):
        pass
    assert (desk.open, desk.ended) == ([], [operation])
