"""How much may be on the volume now: the quota, its watermarks, and the disk itself.

Two guards, independent of each other (safety.md section 6): the counters in Redis against the quota, and
``statvfs`` against ``reserved-disk-space`` and the inodes, whatever the counters say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.config.quota import limits as limits_of

if TYPE_CHECKING:
    from caskeeper.config.quota import Limits
    from caskeeper.config.settings import Settings
    from caskeeper.coordination import Coordination
    from worker.store.volume import Volume

#: New files stop when fewer inodes than this share of the file system's are free.
INODE_RESERVE = 0.01


class Space:
    """The limits of one volume, read anew at each question: the disk is shared with others."""

    def __init__(self, settings: Settings, volume: Volume, coordination: Coordination) -> None:
        self._settings = settings
        self._volume = volume
        self._coordination = coordination

    def limits(self) -> Limits:
        """Quota, watermarks and reserve in bytes, as of now."""
        return self._limits()[0]

    @property
    def place(self) -> str:
        """Which volume it is, for messages."""
        return self._volume.layout.root

    def capacity_bytes(self) -> int:
        """What an empty cache could take if nobody else used the disk. More than this never fits."""
        total_bytes = self._volume.space().total_bytes
        return limits_of(
            self._settings.cache, total_bytes=total_bytes, available_bytes=total_bytes, used_bytes=0
        ).quota_bytes

    def _limits(self) -> tuple[Limits, int, bool]:
        space = self._volume.space()
        usage = self._coordination.usage.snapshot()
        limits = limits_of(
            self._settings.cache,
            total_bytes=space.total_bytes,
            available_bytes=space.available_bytes,
            used_bytes=usage.used_bytes,
        )
        inodes_short = bool(space.inodes_total) and space.inodes_free < space.inodes_total * INODE_RESERVE
        return limits, space.available_bytes, inodes_short

    def limit_for(self, size_bytes: int) -> int | None:
        """The most that used + reserved may be; None: the disk has no room for ``size_bytes`` more."""
        limits, available_bytes, inodes_short = self._limits()
        if inodes_short or available_bytes - size_bytes < limits.reserved_disk_bytes:
            return None
        return limits.quota_bytes

    def disk_deficit(self, size_bytes: int = 0) -> int:
        """How many bytes must go before ``size_bytes`` more leave the reserved disk space alone."""
        limits, available_bytes, _inodes_short = self._limits()
        return max(0, limits.reserved_disk_bytes + size_bytes - available_bytes)

    def used_bytes(self) -> int:
        """The estimate (never below the truth)."""
        return self._coordination.usage.snapshot().used_bytes

    def reserved_bytes(self) -> int:
        """What running operations may still add."""
        return self._coordination.usage.snapshot().reserved_bytes

    def cleanup_wanted(self) -> bool:
        """Above the high watermark, or the reserved disk space is undercut (AC-37, D-34)."""
        limits, available_bytes, inodes_short = self._limits()
        usage = self._coordination.usage.snapshot()
        return (
            inodes_short
            or usage.used_bytes + usage.reserved_bytes > limits.high_bytes
            or available_bytes < limits.reserved_disk_bytes
        )
