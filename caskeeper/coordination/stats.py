"""Totals of the fleet since they were last set to nothing, for `stats`. A hint (I6): they may be lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.coordination.scripts import Scripts

log = logging.getLogger(__name__)

#: Since when, as Redis TIME in ms.
SINCE = "since_ms"
#: Fields kept; a request may name remotes of its own, so their number has no bound.
MOST_FIELDS = 2000


class Stats:
    """One hash of whole numbers. Every method but ``evicted`` raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._key = scripts.keys.stats

    def add(self, more: Mapping[str, int], *, now: Mapping[str, int] | None = None) -> None:
        """Add to some totals, and set others to what they are ``now``, in one round trip."""
        words = [word for field, value in more.items() if value for word in ("+", field, value)]
        words += [word for field, value in (now or {}).items() for word in ("=", field, value)]
        if words:
            self._scripts.run_plain("stats_add", self._key, MOST_FIELDS, *words)

    def evicted(self, refs: int, size_bytes: int) -> None:
        """So much went to make room. Asks nothing when that is nothing.

        Never raises: room was made, and whoever wanted it goes on. Trouble is a line for those who search.
        """
        try:
            self.add({"evicted refs": refs, "evicted bytes": size_bytes})
        except CaskeeperError as trouble:
            log.debug("evictions not counted", extra={"refs": refs, "reason": str(trouble)})

    def read(self) -> dict[str, int]:
        """All of them; {}: nothing was counted yet."""
        _, *flat = self._scripts.run_plain("stats_read", self._key)
        return {str(field): int(value) for field, value in zip(flat[::2], flat[1::2], strict=True)}

    def reset(self) -> None:
        """They begin anew."""
        self._scripts.connection.command("DEL", self._key)
