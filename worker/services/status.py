"""Status: how full the volume is, and who is at work on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caskeeper.contract import Message

if TYPE_CHECKING:
    from caskeeper.coordination import Coordination
    from worker.services.space import Space
    from worker.store.volume import Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningOperation(Message):
    """One operation; ``expires_in_s`` is negative when its lease ran out and it waits to be fenced."""

    id: str
    verb: str
    subject: str
    host: str
    expires_in_s: float
    reserved_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSession(Message):
    """One session that protects ``keys`` keys."""

    id: str
    label: str
    expires_in_s: float
    keys: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusResult(Message):
    """Sizes in bytes. ``ready`` False: what Redis forgot is being recovered. ``size_known`` False: the
    estimate waits for a recount. ``cleanup_wanted``: which watermark is passed; '' = none. Inodes are 0 of 0
    where the file system does not count them. ``maintenance``: the purpose of who removes or recounts now.
    ``waiting_s``: after a loss of Redis nothing is evicted for so long.
    """  # noqa: D205 -- one sentence for each

    volume_id: str
    cachedir: str
    ready: bool
    size_known: bool
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int
    cleanup_above_bytes: int
    cleanup_to_bytes: int
    disk_total_bytes: int
    disk_available_bytes: int
    disk_reserved_bytes: int
    inodes_total: int = 0
    inodes_free: int = 0
    cleanup_wanted: str = ""
    maintenance: str | None = None
    waiting_s: float = 0.0
    operations: tuple[RunningOperation, ...] = ()
    sessions: tuple[OpenSession, ...] = ()


class Status:
    """One look at the volume and at Redis."""

    def __init__(self, volume: Volume, coordination: Coordination, space: Space) -> None:
        self._volume = volume
        self._coordination = coordination
        self._space = space

    def __call__(self) -> StatusResult:
        """Raises Busy while the state is lost, CoordinatorUnavailable, VolumeFailed."""
        coordination = self._coordination
        state = coordination.state()
        now = self._space.now()
        limits, usage, disk = now
        holder = coordination.maintenance.holder()
        return StatusResult(
            volume_id=coordination.volume_id,
            cachedir=self._volume.layout.root,
            ready=state.ready,
            size_known=usage.known,
            used_bytes=usage.used_bytes,
            reserved_bytes=usage.reserved_bytes,
            quota_bytes=limits.quota_bytes,
            cleanup_above_bytes=limits.high_bytes,
            cleanup_to_bytes=limits.low_bytes,
            disk_total_bytes=disk.total_bytes,
            disk_available_bytes=disk.available_bytes,
            disk_reserved_bytes=limits.reserved_disk_bytes,
            inodes_total=disk.inodes_total,
            inodes_free=disk.inodes_free,
            cleanup_wanted=self._space.why_cleanup(now),
            maintenance=None if holder is None else holder.purpose,
            waiting_s=max(0, state.evict_from_ms - state.now_ms) / 1000,
            operations=self._operations(state.now_ms),
            sessions=self._sessions(state.now_ms),
        )

    def _operations(self, now_ms: int) -> tuple[RunningOperation, ...]:
        return tuple(
            RunningOperation(
                id=record.id,
                verb=record.verb,
                subject=record.subject,
                host=record.host,
                expires_in_s=(record.expires_ms - now_ms) / 1000,
                reserved_bytes=record.reserved_bytes,
            )
            for record in self._coordination.operations.list()
        )

    def _sessions(self, now_ms: int) -> tuple[OpenSession, ...]:
        return tuple(
            OpenSession(
                id=record.id,
                label=record.label,
                expires_in_s=(record.expires_ms - now_ms) / 1000,
                keys=record.keys,
            )
            for record in self._coordination.sessions.live()
        )
