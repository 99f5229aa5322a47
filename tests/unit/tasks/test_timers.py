"""Cancelled timers do not stay in memory until their time has come."""

import time

from kombu.asynchronous.timer import Timer

from tasks.timers import forget_cancelled


def test_timers_of_jobs_that_have_ended_go_and_all_others_come_in_their_order():
    timer, fired = Timer(), []
    limits = [timer.call_after(3600.0, fired.append, ("a limit",)) for _ in range(1000)]
    for number in (3, 1, 2):
        timer.call_at(time.monotonic() - 10 + number, fired.append, (number,))
    timer.call_at(time.monotonic() - 20, forget_cancelled, (timer,))
    for limit in limits[1:]:
        limit.cancel()
    for _delay, entry in timer:  # as the event loop does it: the first one tidies in the middle of this
        if entry is None:
            break
        timer.apply_entry(entry)
    assert fired == [1, 2, 3]
    assert len(timer._queue) == 1, "the limit of the job that still runs"
    assert forget_cancelled(timer) == 0
    limits[0].cancel()
    assert forget_cancelled(timer) == 1
