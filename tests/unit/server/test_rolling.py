"""One operation that is at least a grace old always exists, and none gets much older than two."""

from contextlib import contextmanager

import pytest

from caskeeper.errors import CoordinatorUnavailable, LeaseLost
from worker.server.rolling import Rolling

GRACE_S = 600.0


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Operation:
    def __init__(self, desk):
        self.desk = desk
        self.born_s = desk.clock()
        self.lost = False
        self.parts = 0

    def check(self):
        if self.lost:
            raise LeaseLost("fenced")

    def settle_part(self):
        self.parts += 1


class Desk:
    """Opens operations and knows which are open."""

    def __init__(self, clock):
        self.clock = clock
        self.open = []
        self.ended = []
        self.down = False

    @contextmanager
    def writer(self, verb, subject, context):
        if self.down:
            raise CoordinatorUnavailable("down")
        operation = Operation(self)
        self.open.append(operation)
        yield operation
        self.open.remove(operation)
        self.ended.append(operation)

    @property
    def oldest_s(self):
        return max(self.clock() - operation.born_s for operation in self.open)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(clock):
    return Desk(clock)


@pytest.fixture
def rolling(desk, clock):
    made = Rolling(desk, subject="here", grace_s=GRACE_S, clock=clock)
    yield made
    made.close()
    assert desk.open == []


def test_what_was_answered_stays_protected_for_a_grace_and_no_folder_grows_older_than_about_two(
    rolling, desk, clock
):
    answers = []
    for step in range(200):
        clock.now_s = step * GRACE_S / 20
        rolling.turn()
        with rolling.lent(lambda: None) as operation:
            answers.append((clock.now_s, operation))
        assert desk.oldest_s <= 2.1 * GRACE_S
        if clock.now_s >= GRACE_S:
            assert desk.oldest_s >= GRACE_S
        for answered_s, promised in answers:
            assert promised in desk.open or clock.now_s - answered_s >= GRACE_S


def test_uploads_are_settled_in_parts_while_the_operation_goes_on(rolling, desk):
    rolling.turn()
    rolling.turn()
    assert [operation.parts for operation in desk.open] == [2]


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


def test_an_operation_in_use_outlives_its_time_by_a_grace_and_then_its_call_is_stopped(rolling, desk, clock):
    stopped = []
    with rolling.lent(lambda: stopped.append("stopped")) as held:
        for step in range(30):
            clock.now_s = step * GRACE_S / 10
            rolling.turn()
        assert held in desk.open
        assert stopped == []
        clock.now_s = 3.1 * GRACE_S
        rolling.turn()
        assert stopped == ["stopped"]
        assert held in desk.ended


def test_nothing_is_ended_while_no_successor_can_be_had(rolling, desk, clock):
    rolling.turn()
    desk.down = True
    clock.now_s = 5 * GRACE_S
    with pytest.raises(CoordinatorUnavailable):
        rolling.turn()
    assert len(desk.open) == 1
    desk.down = False
    rolling.turn()
    assert len(desk.open) == 2


def test_starting_without_redis_fails_at_once(rolling, desk):
    desk.down = True
    with pytest.raises(CoordinatorUnavailable):
        rolling.start()
