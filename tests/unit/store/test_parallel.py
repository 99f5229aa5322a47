import threading

import pytest

from caskeeper.errors import Cancelled, VolumeFailed
from worker.store import parallel
from worker.store.parallel import Crew


def nothing():
    pass


def test_every_unit_and_all_that_follow_are_done_once():
    done = []

    def do(number):
        done.append(number)
        return [2 * number, 2 * number + 1] if number < 64 else []

    Crew(do, nothing).run([1])
    assert sorted(done) == list(range(1, 128))


def test_no_units_are_no_work():
    Crew(lambda _unit: [], nothing).run([])


def test_a_thread_that_found_nothing_to_do_takes_what_another_one_found():
    meeting = threading.Barrier(parallel.THREADS, timeout=60)

    def do(unit):
        if unit == "seed":
            return ["long"] * parallel.THREADS
        meeting.wait()  # breaks unless as many threads are at work
        return []

    Crew(do, nothing).run(["seed"])
    assert not meeting.broken


def test_the_first_failure_is_raised_and_stops_the_rest():
    done = []

    def do(number):
        done.append(number)
        if number == 10:
            raise VolumeFailed("ten")
        return [number + 1]

    with pytest.raises(VolumeFailed, match="ten"):
        Crew(do, nothing).run([1])
    assert max(done) == 10


def test_after_a_failure_no_further_unit_is_begun():
    done = []

    def do(number):
        done.append(number)
        if number == 99:
            raise VolumeFailed("the first")
        while crew._failure is None:
            pass
        return []

    crew = Crew(do, nothing)
    with pytest.raises(VolumeFailed):
        crew.run(range(100))
    assert len(done) <= parallel.THREADS


def test_what_the_watch_raises_stops_long_units_and_is_raised():
    looks = []

    def watch():
        looks.append(threading.current_thread())
        if len(looks) == 2:
            raise Cancelled("enough")

    def do(_unit):
        while True:
            crew.check()

    crew = Crew(do, watch)
    with pytest.raises(Cancelled, match="enough"):
        crew.run(range(10))
    assert set(looks) == {threading.current_thread()}


def test_no_thread_is_left_after_a_failure():
    before = threading.active_count()

    def do(number):
        if number:
            raise VolumeFailed("now")
        while True:
            crew.check()

    crew = Crew(do, nothing)
    with pytest.raises(VolumeFailed):
        crew.run([1, 0])
    assert threading.active_count() == before


def test_the_watch_sees_the_end():
    done, seen = [], []
    Crew(lambda unit: done.append(unit) or [], lambda: seen.append(len(done))).run(range(5))
    assert seen[-1] == 5
