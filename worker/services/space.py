"""How much may be on the volume now: the quota, its watermarks, and the disk itself.

Two guards, independent of each other (safety.md section 6): the counters in Redis against the quota, and
``statvfs`` against ``reserved-disk-space`` and the inodes, whatever the counters say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caskeeper.config.quota import evaluate
from caskeeper.config.quota import limits as limits_of
from caskeeper.config.sizes import pretty_size, pretty_sizes

if TYPE_CHECKING:
    from caskeeper.config.quota import Limits
    from caskeeper.config.settings import Settings
    from caskeeper.contract import Request
    from caskeeper.coordination import Coordination, Usage
    from worker.store.volume import Space as DiskSpace
    from worker.store.volume import Volume

#: Shares of a file system's inodes that are free: below the first nothing new is written, below the
#: second a cleanup is wanted, and at the third it ends (docs/decisions/0008).
INODES_LEAST, INODES_HIGH, INODES_LOW = 0.01, 0.02, 0.04

#: More than so many times its size no disk takes, whatever it compresses.
PACKED = 16


class Now(NamedTuple):
    """Limits, counters and disk at one moment."""

    limits: Limits
    usage: Usage
    disk: DiskSpace

    def inodes_below(self, share: float, *, less: int = 0) -> bool:
        """Fewer are free, ``less`` many taken off. A file system that does not count them never lacks any."""
        _total_bytes, _available_bytes, total, free = self.disk
        return bool(total) and free - less < total * share

    @property
    def inodes(self) -> str:
        """What there is of them, for messages."""
        return f"{self.disk.inodes_free} of {self.disk.inodes_total} inodes of the file system are free"


class Space:
    """The limits of one volume, read anew at each question: the disk is shared with others."""

    def __init__(self, settings: Settings, volume: Volume, coordination: Coordination) -> None:
        self._settings = settings
        self._volume = volume
        self._coordination = coordination

    def now(self, usage: Usage | None = None) -> Now:
        """One look; ``usage``: at the disk alone. StateLost, CoordinatorUnavailable, VolumeFailed."""
        disk = self._volume.space()
        usage = usage or self._coordination.usage.snapshot()
        limits = limits_of(
            self._settings.cache,
            total_bytes=disk.total_bytes,
            available_bytes=disk.available_bytes,
            used_bytes=usage.used_bytes,
        )
        return Now(limits, usage, disk)

    def accept(self) -> Limits:
        """The limits of a volume that is being opened. Raises ConfigInvalid for a bad quota (AC-2, AC-41)."""
        disk = self._volume.space()
        return evaluate(
            self._settings.cache,
            total_bytes=disk.total_bytes,
            available_bytes=disk.available_bytes,
            used_bytes=self._coordination.usage.snapshot().used_bytes,
            cachedir=self.place,
        )

    def limits(self) -> Limits:
        """Quota, watermarks and reserve in bytes, as of now."""
        return self.now().limits

    @property
    def place(self) -> str:
        """Which volume it is, for messages."""
        return self._volume.layout.root

    @property
    def config_file(self) -> str:
        """Where the quota is or would be configured (AC-44)."""
        return self._settings.source or self._settings.config_file or "the configuration"

    def capacity_bytes(self) -> int:
        """What an empty cache could take if nobody else used the disk. More than this never fits."""
        total_bytes = self._volume.space().total_bytes
        return limits_of(
            self._settings.cache, total_bytes=total_bytes, available_bytes=total_bytes, used_bytes=0
        ).quota_bytes

    def limit_for(self, size_bytes: int, *, files: int = 1) -> int | None:
        """The most that used + reserved may be; None: the disk has no room for so much or so many more."""
        now = self.now()
        if now.inodes_below(INODES_LEAST, less=files):
            return None
        if now.disk.available_bytes - size_bytes < now.limits.reserved_disk_bytes:
            return None
        return now.limits.quota_bytes

    def disk_deficit(self, size_bytes: int = 0) -> int:
        """How many bytes must go before ``size_bytes`` more leave the reserved disk space alone."""
        now = self.now()
        return max(0, now.limits.reserved_disk_bytes + size_bytes - now.disk.available_bytes)

    def inodes_goal(self) -> int:
        """How many inodes are to be free when a cleanup ends; 0: there are enough of them now."""
        now = self.now()
        return int(now.disk.inodes_total * INODES_LOW) if now.inodes_below(INODES_HIGH) else 0

    def inodes_lacking(self, goal: int) -> int:
        """How many are missing to so many free ones."""
        return max(0, goal - self._volume.space().inodes_free) if goal else 0

    def used_bytes(self) -> int:
        """The estimate (never below the truth)."""
        return self._coordination.usage.snapshot().used_bytes

    def reserved_bytes(self) -> int:
        """What running operations may still add."""
        return self._coordination.usage.snapshot().reserved_bytes

    def why_cleanup(self, now: Now | None = None) -> str:
        """Why a cleanup is wanted: a watermark is passed (AC-37, D-34); '' = it is not."""
        limits, usage, disk = now = now or self.now()
        if now.inodes_below(INODES_HIGH):
            return f"only {now.inodes}"
        if disk.available_bytes < limits.reserved_disk_bytes:
            free, kept = pretty_sizes(disk.available_bytes, limits.reserved_disk_bytes)
            return f"{free} of the disk are free, and `reserved-disk-space` keeps {kept}"
        if usage.used_bytes + usage.reserved_bytes > limits.high_bytes:
            return f"used and reserved are above {pretty_size(limits.high_bytes)}"
        return ""

    def upkeep_wanted(self, usage: Usage | None = None) -> Request | None:
        """What somebody should ask for now: a cleanup (which recounts where that is due), or a recount."""
        # Not above: a look at the cache has no use for them.
        from caskeeper.contract import CleanupRequest, ComputeSizeRequest  # noqa: PLC0415 -- see above

        now = self.now(usage)
        if self.why_cleanup(now):
            return CleanupRequest()
        return ComputeSizeRequest() if self.recount_wanted(now.usage) else None

    def recount_wanted(self, usage: Usage | None = None) -> bool:
        """The estimate is unknown, or too high by what dead operations had reserved (D-25).

        Not during the waiting period after a loss of Redis, when a recount is refused.
        """
        usage = usage or self._coordination.usage.snapshot()
        if usage.known:
            impossible = usage.used_bytes > PACKED * self._volume.space().total_bytes
            return usage.converted_bytes > 0 or impossible  # nothing may go for a number that is junk
        state = self._coordination.state()
        return state.ready and state.evict_from_ms <= state.now_ms
