"""When a worker that lives is given up."""

import pytest

from tasks.consuming import Judge, Pulse, Sign


def verdicts(rows, *, children=2, looks=3):
    """One verdict a row of (beat, begun, held, queued)."""
    judge = Judge(children=children, looks=looks)
    return [bool(judge.look(Sign(at, begun, held), queued)) for at, begun, held, queued in rows]


def test_a_worker_that_beats_and_has_nothing_to_do_is_left_alone():
    assert not any(verdicts([(n, 5, 0, 0) for n in range(1, 50)]))


def test_a_consumer_without_a_sign_of_life_is_given_up_after_so_many_looks():
    assert verdicts([(1, 0, 0, 0)] * 5) == [False, False, False, True, True]


def test_one_that_never_began_is_given_up_too():
    assert any(verdicts([(0, 0, 0, 0)] * 3))


def test_while_redis_is_away_nobody_is_given_up_and_the_looks_begin_anew():
    away = [(1, 0, 0, None)] * 50
    assert not any(verdicts([*[(1, 0, 0, 0)] * 3, *away, *[(1, 0, 0, 0)] * 2]))
    assert any(verdicts([*away, *[(1, 0, 0, 0)] * 3]))


def test_who_takes_none_of_what_waits_is_given_up():
    assert verdicts([(n, 7, 1, 4) for n in range(1, 6)]) == [False, False, False, True, True]


def test_looks_closer_together_than_signs_of_life_see_it_too():
    assert any(verdicts([(n // 2, 7, 1, 4) for n in range(2, 12)]))


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(lambda n: (n, 7 + n, 1, 4), id="it takes some"),
        pytest.param(lambda n: (n, 7, 2, 4), id="it runs as many as it can"),
        pytest.param(lambda n: (n, 7, 0, n % 2), id="the lanes are empty now and then"),
    ],
)
def test_who_works_is_not(row):
    assert not any(verdicts([row(n) for n in range(1, 50)]))


def test_a_pulse_is_read_as_it_was_written():
    pulse = Pulse()
    assert pulse.read() == Sign(0.0, 0, 0)
    pulse.beat(begun=7, held=2)
    assert pulse.read()[1:] == (7, 2)
    assert pulse.read().at > 0
