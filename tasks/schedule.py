"""What beat puts into the queue.

Once a day everything on the volume is looked at, a share of the objects hashed, and what is wrong mended.
A recount sets the estimate right, and after it, as after every task, a cleanup is asked for when the cache
wants one. A look every minute cleans also where no task runs and others fill the disk (D-34). Each entry
expires before the next: an outage does not pile them up (queue.md 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, VerifyRequest, queue_of

if TYPE_CHECKING:
    from caskeeper.contract import Request

RECOUNT_EVERY_S = 3600.0
LOOK_EVERY_S = 60.0
SWEEP_EVERY_S = 86400.0
#: Of the objects, each day: all of them in a month (docs/decisions/0013).
SWEEP_PERCENT = 4.0


def entries(*, recount_every_s: float = RECOUNT_EVERY_S) -> dict[str, dict[str, Any]]:
    """The schedule in beat's own form."""
    return {
        "recount": _entry(ComputeSizeRequest(), recount_every_s),
        "look": _entry(CleanupRequest(if_wanted=True), LOOK_EVERY_S),
        "sweep": _entry(VerifyRequest(repair=True, sample=SWEEP_PERCENT), SWEEP_EVERY_S),
    }


def _entry(request: Request, every_s: float) -> dict[str, Any]:
    return {
        "task": request.TASK,
        "schedule": every_s,
        "kwargs": request.to_json(),
        "options": {
            "queue": queue_of(request.LANE),
            "expires": every_s,
            "argsrepr": "()",
            "kwargsrepr": request.subject(),  # what Flower shows
        },
    }
