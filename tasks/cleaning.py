"""Cleanups that nobody asked for: after a task that left the cache too full, one is put into the queue."""

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

#: Within this time one cleanup is enough for the whole fleet, whoever wishes for it.
COALESCE_S = 30.0
_FLIGHT = "wish:cache.cleanup"


class CleanupWish:
    """Enqueues at most one cleanup for all who wish for one; never fails the task that noticed."""

    def __init__(self, send: Callable[[str], None], flights: Callable[[], Flights]) -> None:
        self._send = send
        self._flights = flights

    def look(self, services: Services, done: type[Request] | None = None) -> None:
        """Wish for a cleanup when the cache wants one; ``done`` is what has just run."""
        if done is CleanupRequest:
            return  # what it could not free, the next one cannot either
        try:
            if services.cleanup_wanted():
                self._wish()
        except (CaskeeperError, KombuError, OSError) as trouble:
            log.warning("cleanup not asked for", error=trouble)

    def _wish(self) -> None:
        job_id = str(uuid.uuid4())
        if not self._flights().take(_FLIGHT, job_id, ttl_s=COALESCE_S):
            return
        try:
            self._send(job_id)
        except BaseException:
            self._flights().release(_FLIGHT, job_id)
            raise
        log.info("cleanup asked for", job=job_id)
