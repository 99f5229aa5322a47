"""Upkeep that nobody asked for: a cleanup or a recount that a task leaves to be done, put into the queue."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from kombu.exceptions import KombuError

from caskeeper.contract import CleanupRequest, Request
from caskeeper.errors import CaskeeperError
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.coordination.flights import Flights
    from worker.wiring import Services

log = Log("caskeeper.cleaning")

#: Within this time one of a kind is enough for the whole fleet, whoever wishes for it.
COALESCE_S = 30.0


class CleanupWish:
    """Enqueues at most one of a kind for all who wish for it; never fails the task that noticed."""

    def __init__(self, send: Callable[[Request, str], None], flights: Callable[[], Flights]) -> None:
        self._send = send
        self._flights = flights

    def look(self, services: Services, done: type[Request] | None = None) -> None:
        """Wish for what the cache wants; ``done`` is what has just run."""
        if done is CleanupRequest:
            return  # what it could not free, the next one cannot either
        try:
            wanted = services.upkeep_wanted()
        except (CaskeeperError, OSError) as trouble:
            log.warning("upkeep not asked for", error=trouble)
            return
        if wanted is not None and type(wanted) is not done:
            self.ask(wanted)

    def ask(self, request: Request) -> None:
        """Put it into the queue, unless that was done a moment ago."""
        job_id, flight = str(uuid.uuid4()), f"wish:{request.TASK}"
        try:
            if not self._flights().take(flight, job_id, ttl_s=COALESCE_S):
                return
            try:
                self._send(request, job_id)
            except BaseException:
                self._flights().release(flight, job_id)
                raise
        except (CaskeeperError, KombuError, OSError) as trouble:
            log.warning("upkeep not asked for", error=trouble)
            return
        log.info("upkeep asked for", job=job_id, upkeep=request.TASK)
