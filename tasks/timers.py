"""What is left of the time limits of jobs that have ended.

The library sets a timer for each job's limit and only marks it when the job ends: it stays in memory until
its time would have come, which is hours, and a busy worker grows by some hundred bytes with every job.
"""

from __future__ import annotations

import heapq
from typing import Any

from celery import bootsteps

#: How often they are taken out.
EVERY_S = 30.0


def forget_cancelled(timer: Any) -> int:
    """Take out the timers that were cancelled, in place: the loop may be running over them. How many."""
    queue = timer._queue  # noqa: SLF001 -- there is no public way to them
    kept = [one for one in queue if not one.entry.canceled]
    gone = len(queue) - len(kept)
    if gone:
        queue[:] = kept
        heapq.heapify(queue)
    return gone


class TidyTimers(bootsteps.StartStopStep):
    """Does so in the consumer's event loop, whose timers they are."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Called for every (re)connection to the broker."""
        self._timer = parent.timer.call_repeatedly(EVERY_S, forget_cancelled, (parent.timer,))

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost, and at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
