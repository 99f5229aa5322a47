"""What is true of the fleet and its volume at this moment, as gauges, for whoever answers `/metrics`.

Looked at every few seconds by one thread and kept, so that a scrape answers at once also when Redis or the
volume hangs; what could not be looked at is not told, instead of as it was.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from caskeeper.broker import lane_queues
from caskeeper.contract import LANES
from caskeeper.errors import CaskeeperError
from worker.telemetry.log import Log
from worker.telemetry.metrics import Sample, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caskeeper.queue import Queue
    from worker.services.status import StatusResult
    from worker.wiring import Services

log = Log("caskeeper.metrics")

#: Between two looks.
EVERY_S = 5.0
#: What is older is told no more: the look hangs.
OLD_S = 4 * EVERY_S
#: What protected content is costs a walk through lists: so often, and for a twentieth of the time at most.
PROTECTED_EVERY_S = 300.0
_SHARE = 20


class Facts:
    """``look`` from one thread; all else from any. Nothing here raises."""

    def __init__(self, services: Callable[[], Services], queue: Queue) -> None:
        self._services = services
        self._queue = queue
        self._samples: tuple[Sample, ...] = ()
        self._trouble = "nothing was looked at yet"
        self._at = time.monotonic()
        self._protected: Sample | None = None
        self._protected_at = 0.0
        #: jobs that wait, by lane; None: Redis did not say
        self.queued: Mapping[str, int] | None = None

    def look(self) -> None:
        """Take it all anew."""
        found: list[Sample] = []
        trouble = ""
        try:
            found += self._of_the_queue()
        except CaskeeperError as away:
            self.queued = None
            trouble = str(away)
        found.append(sample("caskeeper_redis_up", float(not trouble)))
        seen = False
        if not trouble:
            try:
                services = self._services()
                os.stat(services.layout.format)  # is the volume still mounted
                found += samples_of(services.status())
                found += _shared(services)
                seen = True
                found += self._protection(services)
            except (CaskeeperError, OSError) as refused:
                trouble = str(refused)
        found.append(sample("caskeeper_volume_up", float(seen)))
        self._samples, self._trouble, self._at = tuple(found), trouble, time.monotonic()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The gauges."""
        if self._old():
            return (sample("caskeeper_redis_up", 0.0), sample("caskeeper_volume_up", 0.0))
        return self._samples

    @property
    def trouble(self) -> str:
        """Why work would not be done now; '' = it would."""
        if self._trouble:
            return self._trouble
        return "Redis or the volume does not answer" if self._old() else ""

    def _old(self) -> bool:
        return time.monotonic() - self._at > OLD_S

    def _of_the_queue(self) -> list[Sample]:
        lengths, taken = self._queue.lengths(), self._queue.taken()
        self.queued = {lane: lengths[name] for lane, name in zip(LANES, lane_queues(), strict=True)}
        return [
            *(sample("caskeeper_queue_queued", n, lane=lane) for lane, n in self.queued.items()),
            sample("caskeeper_queue_taken", taken),
            sample("caskeeper_queue_backlog", sum(lengths.values()) + taken),
        ]

    def _protection(self, services: Services) -> list[Sample]:
        begun = time.monotonic()
        if self._protected is None or begun >= self._protected_at:
            size_bytes = services.protected_bytes()
            self._protected = sample("caskeeper_protected_bytes", size_bytes)
            took = time.monotonic() - begun
            self._protected_at = begun + max(PROTECTED_EVERY_S, _SHARE * took)
        return [self._protected]


def samples_of(status: StatusResult) -> list[Sample]:
    """What `status` shows, as gauges."""
    plain = {
        "caskeeper_ready": status.ready,
        "caskeeper_size_known": status.size_known,
        "caskeeper_used_bytes": status.used_bytes,
        "caskeeper_reserved_bytes": status.reserved_bytes,
        "caskeeper_quota_bytes": status.quota_bytes,
        "caskeeper_cleanup_above_bytes": status.cleanup_above_bytes,
        "caskeeper_disk_total_bytes": status.disk_total_bytes,
        "caskeeper_disk_available_bytes": status.disk_available_bytes,
        "caskeeper_disk_reserved_bytes": status.disk_reserved_bytes,
        "caskeeper_inodes_total": status.inodes_total,
        "caskeeper_inodes_free": status.inodes_free,
        "caskeeper_eviction_waits_seconds": status.waiting_s,
        "caskeeper_cleanup_wanted": bool(status.cleanup_wanted),
        "caskeeper_maintenance_running": status.maintenance is not None,
        "caskeeper_sessions": len(status.sessions),
    }
    verbs = Counter(one.verb for one in status.operations)
    return [
        *(sample(name, float(value)) for name, value in plain.items()),
        *(sample("caskeeper_operations", n, verb=verb) for verb, n in verbs.items()),
    ]


def _shared(services: Services) -> list[Sample]:
    """What the fleet keeps in Redis for everybody."""
    coordination = services.coordination
    drift = coordination.stats.read().get("drift_bytes")
    return [
        *([] if drift is None else [sample("caskeeper_drift_bytes", drift)]),
        *(
            sample("caskeeper_breaker_open", float(one.is_open), remote=one.url)
            for one in coordination.breakers.read()
        ),
    ]
