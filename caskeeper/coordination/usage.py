"""The size estimate, read (safety.md section 6). It is changed by operations and maintenance only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.coordination.values import Usage

if TYPE_CHECKING:
    from caskeeper.coordination.scripts import Scripts


class UsageCounter:
    """The counters of used and reserved bytes."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def snapshot(self) -> Usage:
        """The counters at one instant. StateLost, CoordinatorUnavailable."""
        _, _, known, *flat = self._scripts.run("read", 2, what="usage")
        counters = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
        return Usage(
            counters["used"],
            counters["reserved"],
            counters["added_total"],
            known == 1,
            counters["converted"],
        )
