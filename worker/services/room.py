"""A write that does not fit: wait for a cleanup, then fail with the numbers (interface section 4)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from caskeeper.config.sizes import pretty_size, pretty_sizes
from caskeeper.errors import Busy, CacheTooFull, TooLarge
from worker.protocols import Context
from worker.services.keepers import OPERATION
from worker.services.plan import YOUNG

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import CleanupResult
    from worker.services.cleanup import Cleanup
    from worker.services.space import Space

#: How long reservations of others are waited for when nothing more can be evicted.
WAIT_S = 30.0


class Room:
    """Makes room for a reservation, by a cleanup of its own or somebody else's."""

    def __init__(self, cleanup: Cleanup, space: Space, *, clock_margin_s: float) -> None:
        self._cleanup = cleanup
        self._space = space
        self._margin_s = clock_margin_s

    def make(
        self,
        size_bytes: int,
        *,
        reserved_bytes: int,
        written_bytes: int,
        alone_bytes: int | None,
        wait_s: float,
        ask: Callable[[], bool],
        check: Callable[[], None],
    ) -> None:
        """Return when ``ask`` answered True.

        ``reserved_bytes`` and ``written_bytes`` are what the asking operation still has and what it has
        used already, which all has to fit; ``alone_bytes``: it is of many, and only so much has to. Waits for
        ``wait_s`` at most, and only while that can help. Raises TooLarge, CacheTooFull, NoSpace, or what
        ``check`` raises. What could not even fit into an empty cache is told at once, and nothing is evicted
        for it.
        """
        own_bytes = written_bytes if alone_bytes is None else 0
        self._refuse_hopeless(size_bytes + own_bytes if alone_bytes is None else alone_bytes)
        began = time.monotonic()
        too_full = partial(self._cleanup.too_full, size_bytes=size_bytes, written_bytes=own_bytes)
        while True:
            if ask():
                return
            check()
            try:
                result = self._clean(size_bytes, check)
            except Busy:
                result = None
            else:
                if ask():
                    return
            # What others have reserved may come free again: with it in the way nothing is said for good.
            others = self._space.reserved_bytes() - reserved_bytes
            if result is not None and others <= 0:
                full = too_full(result)
                if isinstance(full, CacheTooFull):
                    raise full
            if time.monotonic() - began >= min(wait_s, self._patience_s(result, others_bytes=others)):
                whole_bytes = own_bytes + reserved_bytes + size_bytes
                if alone_bytes is None and whole_bytes > self._space.capacity_bytes():
                    raise self._too_large(whole_bytes)
                raise too_full(result, for_good=False)
            time.sleep(0.25)

    def _refuse_hopeless(self, least_bytes: int) -> None:
        """What the operation has written is younger than itself, so it stays until that has ended."""
        if least_bytes > self._space.capacity_bytes():
            raise self._too_large(least_bytes)
        if least_bytes > self._space.limits().quota_bytes:  # for want of disk: others have it
            raise self._cleanup.too_full(None, size_bytes=least_bytes, for_good=False)

    def _clean(self, size_bytes: int, check: Callable[[], None]) -> CleanupResult:
        limits = self._space.limits()
        reserved = self._space.reserved_bytes()
        target = min(limits.low_bytes, limits.quota_bytes - reserved - size_bytes)
        target -= self._space.disk_deficit(size_bytes)
        context = Context(progress=lambda _progress: None, check=check)
        return self._cleanup.clean(
            target_bytes=max(0, target),
            dry_run=False,
            context=context,
            wait_s=1.0,
            why=f"{pretty_size(size_bytes)} more did not fit",
        )

    def _patience_s(self, result: CleanupResult | None, *, others_bytes: int) -> float:
        """How long waiting can help: until others end, or what is young is older than the margin."""
        at_work = result is not None and any(one.kind == OPERATION for one in result.holders)
        if others_bytes > 0 or result is None or at_work:
            return WAIT_S + self._margin_s
        young = result.young_objects or any(group.action == YOUNG for group in result.groups)
        return self._margin_s + 1.0 if young or result.freed_bytes else 0.0

    def _too_large(self, size_bytes: int) -> TooLarge:
        size, capacity = pretty_sizes(size_bytes, self._space.capacity_bytes())
        return TooLarge(
            f"{size} do not fit into a quota of {capacity}",
            self._space.place,
            f"raise `cache: quota` in {self._space.config_file} to more than {size}",
        )
