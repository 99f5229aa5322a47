"""Maintenance one at a time, whichever worker runs it: the others go back into the queue meanwhile.

What a job really changes is guarded by the maintenance lease of the volume; this keeps waiting jobs from
holding a child each, which then could do nothing for anybody.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from caskeeper.coordination.limits import PLACE_S
from caskeeper.errors import CoordinatorUnavailable
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.contract import Request
    from caskeeper.coordination.limits import Limits

log = Log("caskeeper.turns")

#: The lanes of which one job runs at a time in the whole fleet.
ONE_AT_A_TIME = frozenset({"maintenance"})
#: After so long whoever found the lane taken looks again.
PAUSE_S = 2.0


class NotYet(Exception):
    """Another job of the lane runs: this one goes back. No retry, no start, nobody's failure."""

    def __init__(self, lane: str, pause_s: float = PAUSE_S) -> None:
        super().__init__(f"another job of the lane {lane} runs")
        self.pause_s = pause_s


@contextmanager
def lane_turn(kind: type[Request], job_id: str, limits: Limits) -> Iterator[None]:
    """While this lasts no other job of its lane runs, if that is such a lane. Raises NotYet.

    The job's id is the token: delivered again after its worker died, it goes on at once. Without a Redis
    that answers nobody is kept waiting.
    """
    if kind.LANE not in ONE_AT_A_TIME:
        yield
        return
    name = f"lane:{kind.LANE}"
    try:
        mine = limits.take(name, job_id, limit=1)
    except CoordinatorUnavailable as gone:
        log.debug("no turn asked for", job=job_id, error=gone)
        mine = True
    if not mine:
        raise NotYet(kind.LANE)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(limits, name, job_id, over), name="lane turn", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        with suppress(CoordinatorUnavailable):  # then it expires
            limits.release(name, job_id)


def _keep(limits: Limits, name: str, job_id: str, over: threading.Event) -> None:
    while not over.wait(PLACE_S / 4):
        try:
            limits.take(name, job_id, limit=1)
        except CoordinatorUnavailable as gone:
            log.debug("turn not renewed", job=job_id, error=gone)
