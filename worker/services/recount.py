"""Recount: the estimate becomes the truth (AC-31, safety.md section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.contract import ComputeSizeRequest, ComputeSizeResult
from worker.store.measure import used_bytes

if TYPE_CHECKING:
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance, Run


class Recount:
    """The verb ``cache.compute_size``."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance

    def __call__(self, request: ComputeSizeRequest, context: Context) -> ComputeSizeResult:
        """Scan the volume and set the estimate.

        Raises Busy while another holds the lease, and until operations had time to come back after a loss
        of Redis: what one of them writes from a reservation that nobody knows would be counted nowhere.
        """
        with self._maintenance.run("recount", spare_young=False, check=context.check) as run:
            self._maintenance.refuse_while_waiting(run)
            return self.within(run)

    def within(self, run: Run) -> ComputeSizeResult:
        """The same under a lease already held: scan + everything added to the estimate since it began."""
        coordination = self._maintenance.coordination
        before = coordination.usage.snapshot().used_bytes
        added = coordination.maintenance.begin_recount(run.holder, run.epoch)
        scanned = used_bytes(self._maintenance.volume)
        run.check()
        used = coordination.maintenance.finish_recount(
            run.holder, run.epoch, scanned_bytes=scanned, added_total_at_start=added
        )
        return ComputeSizeResult(used_bytes=used, estimate_bytes=before)
