"""The requests of the maintenance lane. Take the names from ``caskeeper.contract``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from caskeeper.request import Request
from caskeeper.results import CleanupResult, ComputeSizeResult, VerifyResult


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanupRequest(Request):
    """Evict until ``target_bytes`` (None: the low watermark). ``dry_run`` only plans.

    ``if_wanted``: look first, and do nothing unless the cache is above a watermark (D-33, D-34).
    """

    TASK: ClassVar = "cache.cleanup"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = CleanupResult

    target_bytes: int | None = None
    dry_run: bool = False
    if_wanted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSizeRequest(Request):
    """Recount the volume and set the estimate to the truth."""

    TASK: ClassVar = "cache.compute_size"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = ComputeSizeResult


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyRequest(Request):
    """Look at everything on the volume; ``repair`` mends what can be mended.

    ``sample``: hash so many percent of the objects, another part every day (docs/decisions/0013); None = all.
    """

    TASK: ClassVar = "cache.verify"
    LANE: ClassVar = "maintenance"
    RESULT: ClassVar = VerifyResult

    repair: bool = False
    sample: float | None = None
