import os
import threading
import time

import pytest
from harness.process_tree import until

from worker.repeating import Repeated


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "repeating"]


def test_it_is_called_again_and_again_until_it_is_ended_and_not_once_more():
    calls = []
    repeated = Repeated(lambda: calls.append(1) or True, every_s=0.001)
    until(lambda: len(calls) >= 3, "it is called")
    repeated.end()
    count = len(calls)
    time.sleep(0.02)
    assert len(calls) == count
    repeated.end()


def test_it_may_end_itself():
    calls = []
    repeated = Repeated(lambda: len(calls) < 2 and not calls.append(1), every_s=0.001)
    until(lambda: len(calls) == 2, "it is called")
    time.sleep(0.02)
    assert len(calls) == 2
    repeated.end()


def test_what_ends_before_its_first_time_is_never_called_and_its_thread_serves_the_next():
    before = threads()
    for _ in range(100):
        Repeated(lambda: 1 / 0, every_s=60).end()
    assert len(threads()) <= len(before) + 1
    calls = []
    repeated = Repeated(lambda: not calls.append(1), every_s=0.001)
    until(lambda: calls, "the one that waits for longer is woken")
    repeated.end()


def test_a_call_under_way_is_waited_for():
    entered, leave, done = threading.Event(), threading.Event(), []

    def slow():
        entered.set()
        leave.wait(30)
        done.append(1)
        return True

    repeated = Repeated(slow, every_s=0.001)
    entered.wait(30)
    threading.Timer(0.02, leave.set).start()
    repeated.end()
    assert done == [1]


def test_several_at_once_do_not_wait_for_each_other():
    leave, calls = threading.Event(), []
    stuck = Repeated(lambda: leave.wait(30), every_s=0.001)
    other = Repeated(lambda: not calls.append(1), every_s=0.001)
    until(lambda: len(calls) >= 3, "it is called")
    other.end()
    leave.set()
    stuck.end()


def test_a_fault_of_what_is_called_is_told_and_ends_it_alone(caplog):
    calls = []

    def fails():
        calls.append(1)
        raise ValueError("the test says so")

    repeated = Repeated(fails, every_s=0.001)
    until(lambda: "the test says so" in caplog.text, "it is told")
    time.sleep(0.01)
    assert calls == [1]
    repeated.end()
    again = []
    repeated = Repeated(lambda: not again.append(1), every_s=0.001)
    until(lambda: again, "the thread lives")
    repeated.end()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_after_a_fork_a_process_has_threads_of_its_own():
    Repeated(lambda: True, every_s=60).end()
    child = os.fork()
    if child == 0:
        calls = []
        repeated = Repeated(lambda: not calls.append(1), every_s=0.001)
        end = time.monotonic() + 30
        while not calls and time.monotonic() < end:
            time.sleep(0.001)
        repeated.end()
        os._exit(0 if calls else 1)
    assert os.waitpid(child, 0)[1] == 0
