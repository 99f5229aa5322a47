"""So many bytes of trees are in memory at once, unless one call alone needs more."""

import pytest

from caskeeper.errors import Busy
from worker.server.budget import Budget


def test_one_alone_takes_what_it_needs_and_all_together_what_there_is():
    budget = Budget(10)
    with budget.call() as take:
        take(8)
        take(8)
        with budget.call() as second, pytest.raises(Busy, match="large trees"):
            second(1)
    with budget.call() as take, budget.call() as second:
        take(6)
        second(4)
        with pytest.raises(Busy):
            take(1)
        with pytest.raises(Busy):
            second(1)


def test_what_a_call_took_is_given_back_however_it_ends():
    budget = Budget(10)

    def fail():
        with budget.call() as take:
            take(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with budget.call() as first, budget.call() as second:
        first(1)
        second(9)
