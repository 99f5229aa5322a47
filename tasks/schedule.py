"""What beat puts into the queue.

A recount sets the estimate right, and after it, as after every task, a cleanup is asked for when the cache
wants one. A look every minute cleans also where no task runs and others fill the disk (D-34). Each entry
expires before the next: an outage does not pile them up (queue.md 8).
"""

from __future__ import annotations

from typing import Any

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, queue_of

RECOUNT_EVERY_S = 3600.0
LOOK_EVERY_S = 60.0


def entries(*, recount_every_s: float = RECOUNT_EVERY_S) -> dict[str, dict[str, Any]]:
    """The schedule in beat's own form."""
    return {
        "recount": {
            "task": ComputeSizeRequest.TASK,
            "schedule": recount_every_s,
            "kwargs": {},
            "options": {"queue": queue_of(ComputeSizeRequest.LANE), "expires": recount_every_s},
        },
        "look": {
            "task": CleanupRequest.TASK,
            "schedule": LOOK_EVERY_S,
            "kwargs": CleanupRequest(if_wanted=True).to_json(),
            "options": {"queue": queue_of(CleanupRequest.LANE), "expires": LOOK_EVERY_S},
        },
    }
