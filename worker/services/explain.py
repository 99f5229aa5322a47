"""Explain: why an artifact is kept, or why and when it went. Looks only, and decides nothing."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import Explanation, Happening
from caskeeper.errors import CaskeeperError, VolumeFailed
from caskeeper.explanation import how_it_went
from worker.services.keepers import find_keepers
from worker.services.plan import PROTECTED, judge, take_inventory
from worker.store.damage import trouble_of
from worker.store.failures import failure
from worker.store.promises import HEEDED, PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from caskeeper.contract import ExplainRequest
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance
    from worker.services.plan import Inventory
    from worker.services.presence import Presence
    from worker.services.space import Space
    from worker.store.refs import RefRecord

#: So many entries of the log, and so many of the refs that go first, are told.
HISTORY, NAMED = 50, 5


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


class Explain:
    """The verb ``cache.explain``, and what the command does without a worker."""

    def __init__(self, maintenance: Maintenance, presence: Presence, space: Space) -> None:
        self._parts = maintenance
        self._presence = presence
        self._space = space

    def __call__(self, request: ExplainRequest, context: Context) -> Explanation:
        """What cannot be looked at becomes a remark. Raises InvalidRequest."""
        ref = Ref.parse(request.ref, where="ref")
        remarks: list[str] = []
        here, record = self._look(ref, remarks)
        found: dict[str, Any] = {}
        if here:
            keepers, unknown = find_keepers(
                ref, record, pins=self._parts.pins, coordination=self._parts.coordination
            )
            remarks += unknown
            found = {"kept_by": keepers, **self._content(record)}
            context.check()
            try:
                found |= self._prospect(ref)
            except CaskeeperError as unknowable:
                remarks.append(f"its place in the order of eviction is not known ({unknowable})")
        history: tuple[Happening, ...] = ()
        log_from_ms = None
        try:
            log_from_ms = self._parts.coordination.events.begins_ms()
            history = tuple(
                Happening.from_json({name: text for name, text in event._asdict().items() if name != "ref"})
                for event in self._parts.coordination.events.of(str(ref), HISTORY)
            )
        except CaskeeperError as away:
            remarks.append(f"the event log cannot be read ({away.what})")
        return Explanation(
            ref=str(ref),
            here=here,
            seen=here or bool(history),
            history=history,
            gone=how_it_went(history, moment=_moment) if history and not here else "",
            remarks=tuple(remarks),
            log_from_ms=log_from_ms,
            **found,
        )

    def _look(self, ref: Ref, remarks: list[str]) -> tuple[bool, RefRecord | None]:
        try:
            record = self._parts.refs.read(ref)
        except VolumeFailed as damage:
            remarks.append(str(damage))
            return True, None
        return record is not None, record

    def _content(self, record: RefRecord | None) -> dict[str, Any]:
        if record is None:
            return {}
        missing = ""
        try:
            for root in record.roots:
                self._presence.require(list(self._presence.closure(root, record.scope).digests))
        except CaskeeperError as gap:
            content = trouble_of(gap)
            missing = gap.what if content is None else str(content.digest)
        return {
            "complete": not missing,
            "missing": missing,
            "roots": tuple(map(str, record.roots)),
            "excluded": record.scope.excluded,
        }

    def _prospect(self, ref: Ref) -> dict[str, Any]:
        """What a cleanup down to the low watermark would do with it now, and what goes before it."""
        limits, usage, _disk = self._space.now()
        inventory = self._inventory()
        judge(
            inventory,
            used_bytes=usage.used_bytes,
            target_bytes=limits.low_bytes,
            required=self._parts.coordination.sessions.requirers(),
            pins=self._parts.pins.read(),
        )
        named = [group for group in inventory.groups if group.entries]
        own = next((group for group in named if str(ref) in group.names), None)
        if own is None:
            return {}  # it went, or came, while we looked
        found: dict[str, Any] = {"action": own.action, "reason": own.reason, "used_ms": own.used_ms}
        if own.action == PROTECTED:
            return found
        order = [group for group in named if group.action != PROTECTED]
        before = order[: order.index(own)]
        inventory.settle(before)
        return {
            **found,
            "place": len(before) + 1,
            "places": len(order),
            "before": len(before),
            "before_bytes": sum(group.frees_bytes for group in before),
            "before_refs": tuple(name for group in before[:NAMED] for name in group.names[:1]),
        }

    def _inventory(self) -> Inventory:
        parts = self._parts

        def scores(refs: Sequence[Ref]) -> list[int | None]:
            return parts.coordination.recency.scores([str(one) for one in refs])

        return take_inventory(
            parts.refs,
            parts.closures,
            parts.objects,
            scores=scores,
            horizon_ns=self._horizon_ns(),
        )

    def _horizon_ns(self) -> int:
        """About what a cleanup's horizon would be now. For telling only: this host's clock is in it."""
        leases, staging = self._parts.leases, self._parts.volume.layout.staging
        now_ns = time.time_ns()
        starts = [now_ns]
        try:
            for name in os.listdir(staging):
                place = f"{staging}/{name}" if name.startswith(PREFIX) else f"{staging}/{name}/start"
                try:
                    began_ns = os.lstat(place).st_mtime_ns
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if not name.startswith(PREFIX) or now_ns - began_ns < HEEDED * leases.upload_grace_s * 1e9:
                    starts.append(began_ns)
        except OSError as error:
            raise failure(error, staging) from error
        return min(starts) - int(leases.clock_margin_s * 1e9)
