import threading
import time

import pytest

from caskeeper.errors import Cancelled, VolumeFailed
from worker.store import parallel
from worker.store.parallel import Crew, Turn


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

    Crew(do, nothing, is_long=lambda unit: unit == "long").run(["seed"])
    assert not meeting.broken


def test_short_units_go_one_at_a_time(monkeypatch):
    monkeypatch.setattr(parallel, "BUSY_SHARE", 0)  # as if none ever waited for the disk
    alone, met = threading.Lock(), []

    def do(number):
        met.append(not alone.acquire(blocking=False))
        time.sleep(0.001)
        alone.release()
        return [number - 1] * 2 if number else []

    Crew(do, nothing).run([5])
    assert met == [False] * 63


def test_a_long_unit_goes_beside_a_short_one():
    meeting = threading.Barrier(2, timeout=60)

    def do(_unit):
        meeting.wait()
        return []

    Crew(do, nothing, is_long=bool).run([True, False])
    assert not meeting.broken


def test_short_units_that_wait_for_the_disk_wait_together():
    meeting = threading.Barrier(parallel.THREADS, timeout=60)

    def do(_unit):
        meeting.wait()  # for which the first one waits alone at first, and does nothing
        return []

    Crew(do, nothing).run(range(parallel.THREADS))
    assert not meeting.broken


def test_small_files_take_turns():
    turn, order = Turn(), []

    def other():
        with turn.taken(10, 10 * parallel.SMALL_BYTES):
            order.append("other")

    with turn.taken(10, 1000):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(parallel.PATIENCE_S / 5)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_large_files_wait_for_nobody_and_nobody_waits_for_long(monkeypatch):
    turn = Turn()
    with turn.taken(10, 1000):
        with turn.taken(1, parallel.SMALL_BYTES + 1):
            pass
        monkeypatch.setattr(parallel, "PATIENCE_S", 0.01)
        with turn.taken(10, 1000):
            pass
        assert turn._taken, "who did not get it does not give it back"
    assert not turn._taken


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

    crew = Crew(do, nothing, is_long=bool)
    with pytest.raises(VolumeFailed):
        crew.run([1, 0])
    assert threading.active_count() == before


def test_the_watch_sees_the_end():
    done, seen = [], []
    Crew(lambda unit: done.append(unit) or [], lambda: seen.append(len(done))).run(range(5))
    assert seen[-1] == 5


class Elsewhere:
    """Does a part of what it is sent, at the next receive but ``late``."""

    def __init__(self, do, *, part=2, late=0, begins=True):
        self._do, self._part, self._late, self._begins = do, part, late, begins
        self._waiting = []
        self.sent, self.asked, self.empty = [], 0, 0

    def begin(self):
        self.asked += 1
        return self._begins

    def send(self, units):
        assert units
        self.sent.extend(units)
        self._waiting.append(list(units))

    def receive(self, wait_s):
        if self.empty < self._late:
            self.empty += 1
            return None
        units = self._waiting.pop(0)
        following = units[self._part :]
        for unit in units[: self._part]:
            following += self._do(unit)
        return following


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(parallel, "WORTH_S", 0)
    monkeypatch.setattr(parallel, "WORTH_UNITS", 2)


def two_of_each(done):
    def do(number):
        done.append(number)
        return [2 * number, 2 * number + 1] if number < 256 else []

    return do


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("late", [0, 5])
def test_what_goes_aside_is_done_once_and_what_comes_back_undone_as_well(late):
    done = []
    elsewhere = Elsewhere(two_of_each(done), late=late)
    Crew(two_of_each(done), nothing, aside=elsewhere).run([1])
    assert sorted(done) == list(range(1, 512))
    assert elsewhere.sent
    assert elsewhere.empty == late


def test_little_work_goes_nowhere():
    done = []
    elsewhere = Elsewhere(two_of_each(done))
    Crew(two_of_each(done), nothing, aside=elsewhere).run(range(256, 256 + parallel.WORTH_UNITS - 1))
    assert not elsewhere.asked


@pytest.mark.usefixtures("at_once")
def test_who_is_not_there_is_asked_once():
    done = []
    elsewhere = Elsewhere(two_of_each(done), begins=False)
    Crew(two_of_each(done), nothing, aside=elsewhere).run([1])
    assert sorted(done) == list(range(1, 512))
    assert (elsewhere.asked, elsewhere.sent) == (1, [])


@pytest.mark.usefixtures("at_once")
def test_long_units_stay_here():
    done = []
    elsewhere = Elsewhere(lambda unit: done.append(unit) or [])
    crew = Crew(
        lambda unit: done.append(unit) or [], nothing, is_long=lambda unit: unit < 10, aside=elsewhere
    )
    crew.run(range(40))
    assert sorted(done) == list(range(40))
    assert elsewhere.sent
    assert min(elsewhere.sent) >= 10


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("late", [0, 5])
def test_a_failure_elsewhere_is_a_failure_here(late):
    def fail(_unit):
        raise VolumeFailed("there")

    threads = threading.active_count()
    with pytest.raises(VolumeFailed, match="there"):
        Crew(lambda unit: [unit - 1] * 2 if unit else [], nothing, aside=Elsewhere(fail, late=late)).run([5])
    assert threading.active_count() == threads


@pytest.mark.usefixtures("at_once")
def test_who_never_answers_holds_up_no_cancellation():
    elsewhere = Elsewhere(lambda _unit: [], late=10**9)
    looks = []

    def watch():
        looks.append(elsewhere.empty)
        if elsewhere.empty > 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        Crew(lambda unit: [unit - 1] * 2 if unit else [], watch, aside=elsewhere).run([3])
    assert looks


def test_where_a_thread_cannot_be_started_those_that_were_end_before_it_is_told(monkeypatch):
    start, done = threading.Thread.start, []

    def start_one(thread):
        if thread.name.endswith("-1"):
            raise RuntimeError("can't start new thread")
        start(thread)

    def do(number):
        done.append(number)
        time.sleep(0.001)
        return [number + 1]  # without an end

    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start"):
        Crew(do, nothing).run([1])
    assert set(threading.enumerate()) <= before
