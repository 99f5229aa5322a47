"""What is true of the fleet and its volume at this moment, as gauges, for whoever answers `/metrics`.

Looked at every few seconds and kept, so that a scrape answers at once also when Redis or the volume hangs;
what could not be looked at is not told, instead of as it was. Redis, the volume, and what is protected on it
are looked at apart: one that hangs or takes long says nothing about the others.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.broker import lane_queues
from caskeeper.contract import LANES
from caskeeper.coordination.events import origin
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
#: After a walk that failed, the next one comes sooner.
_PROTECTED_AGAIN_S = 30.0
_SHARE = 20


class _Look(NamedTuple):
    """What was seen, and why not more; '' = nothing is wrong."""

    samples: tuple[Sample, ...]
    trouble: str
    at: float

    @property
    def fits(self) -> bool:
        """It is recent, and nothing was wrong."""
        return not self.trouble and not self.old

    @property
    def old(self) -> bool:
        """The next look has not come back."""
        return time.monotonic() - self.at > OLD_S


class Facts:
    """Each ``look_at_…`` from one thread of its own; all else from any. Nothing here raises."""

    def __init__(self, services: Callable[[], Services], queue: Queue) -> None:
        self._services = services
        self._queue = queue
        nothing = _Look((), "nothing was looked at yet", time.monotonic())
        self._redis = self._volume = nothing
        self._protected: Sample | None = None
        self._protected_at = 0.0
        self._told = ""
        self._over = threading.Event()
        #: jobs that wait, by lane; None: Redis did not say
        self.queued: Mapping[str, int] | None = None

    def start(self, *, every_s: float = EVERY_S) -> None:
        """Look at the volume from threads of this object's own; at Redis looks whoever made it."""
        for look in (self.look_at_volume, self.look_at_protected):
            threading.Thread(
                target=self._again_and_again, args=(look, every_s), name=look.__name__, daemon=True
            ).start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def look_at_redis(self) -> None:
        """Take its part anew: within seconds, as every command has an end."""
        found = self._tried(self._of_the_queue)
        if found.trouble:
            self.queued = None
        self._redis = found

    def look_at_volume(self) -> None:
        """Take its part anew."""
        self._volume = self._tried(self._of_the_volume)

    def look_at_protected(self) -> None:
        """Walk through what is protected, when it is time for that."""
        begun = time.monotonic()
        if not self._volume.fits or begun < self._protected_at:
            return
        found = self._tried(lambda: [sample("caskeeper_protected_bytes", self._services().protected_bytes())])
        self._protected = next(iter(found.samples), None)
        pause_s = _PROTECTED_AGAIN_S if found.trouble else PROTECTED_EVERY_S
        self._protected_at = begun + max(pause_s, _SHARE * (time.monotonic() - begun))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The gauges."""
        redis, volume, protected = self._redis, self._volume, self._protected
        return (
            sample("caskeeper_redis_up", float(redis.fits)),
            sample("caskeeper_volume_up", float(volume.fits)),
            *(redis.samples if redis.fits else ()),
            *(volume.samples if volume.fits else ()),
            *((protected,) if protected is not None and volume.fits else ()),
        )

    @property
    def trouble(self) -> str:
        """Why work would not be done now; '' = it would."""
        for what, look in (("Redis", self._redis), ("the volume", self._volume)):
            if look.old:
                return f"{what} does not answer"
            if look.trouble:
                return look.trouble
        return ""

    def _tried(self, look: Callable[[], list[Sample]]) -> _Look:
        samples: tuple[Sample, ...] = ()
        trouble = ""
        try:
            samples = tuple(look())
        except (CaskeeperError, OSError) as refused:
            trouble = str(refused) or type(refused).__name__
        except Exception as bug:  # noqa: BLE001 -- whoever watches goes on, and says so once
            trouble = f"a fault of caskeeper: {bug!r}"
            if trouble != self._told:
                self._told = trouble
                log.fault("could not look", bug)
        return _Look(samples, trouble, time.monotonic())

    def _again_and_again(self, look: Callable[[], None], every_s: float) -> None:
        while True:
            look()
            if self._over.wait(every_s):
                return

    def _of_the_queue(self) -> list[Sample]:
        lengths, taken = self._queue.lengths(), self._queue.taken()
        self.queued = {lane: lengths[name] for lane, name in zip(LANES, lane_queues(), strict=True)}
        return [
            *(sample("caskeeper_queue_queued", n, lane=lane) for lane, n in self.queued.items()),
            sample("caskeeper_queue_taken", taken),
            sample("caskeeper_queue_backlog", sum(lengths.values()) + taken),
        ]

    def _of_the_volume(self) -> list[Sample]:
        services = self._services()
        os.stat(services.layout.format)  # is it still mounted
        return [*samples_of(services.status()), *_shared(services)]


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
        "caskeeper_inodes": status.inodes_total,
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
    breakers: dict[str, float] = {}
    for one in coordination.breakers.read():
        place = origin(one.url)  # which several of them may share
        breakers[place] = max(breakers.get(place, 0.0), float(one.is_open))
    return [
        *([] if drift is None else [sample("caskeeper_drift_bytes", drift)]),
        *(sample("caskeeper_breaker_open", is_open, remote=place) for place, is_open in breakers.items()),
    ]
