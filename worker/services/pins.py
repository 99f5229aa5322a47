"""Pin and unpin: permanent protection of refs, by name or by glob (safety.md section 4).

Both happen under the one maintenance lease. No cleanup runs meanwhile, one that was paused is fenced, what
it had taken is put back, and the next one reads the pins after it has the lease: what a pin matches and
what is here when ``pin`` returns stays until ``unpin``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caskeeper.contract import Message
from caskeeper.errors import ArtifactNotFound
from caskeeper.pins import Pin, PinSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from worker.protocols import Context
    from worker.services.maintenance import Maintenance, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned(Message):
    """What one pin did. ``added`` False: it was there. ``here``: refs of this moment that it protects."""

    pattern: str
    added: bool
    here: int


class Pinning:
    """The verbs ``pin`` and ``unpin``; they work on the volume in the caller's process."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance
        self._pins = maintenance.pins

    def read(self) -> PinSet:
        """All pins. Raises VolumeFailed, PermissionDenied."""
        return self._pins.read()

    def pin(self, patterns: Sequence[str], context: Context) -> tuple[Pinned, ...]:
        """Protect what is here and what will come. Raises InvalidRequest before anything is pinned.

        Busy while another keeps the maintenance lease, LeaseLost: it may be pinned or not, ask again.
        """
        pins = [Pin.parse(text) for text in dict.fromkeys(patterns)]
        with self._maintenance.run("pin", check=context.check) as run:
            new = {pin for pin in pins if not self._pins.holds(pin)}
            for pin in pins:
                self._pins.add(pin)
            self._still_mine(run)
        return tuple(Pinned(pattern=pin.pattern, added=pin in new, here=self._here(pin)) for pin in pins)

    def unpin(self, patterns: Sequence[str], context: Context) -> tuple[str, ...]:
        """Take pins away; also damaged ones. The patterns as they were pinned.

        Raises InvalidRequest, ArtifactNotFound when there is no such pin (none is taken away then), Busy.
        """
        pins = [Pin.parse(text) for text in dict.fromkeys(patterns)]
        with self._maintenance.run("unpin", check=context.check) as run:
            for pin in pins:
                if not self._pins.holds(pin):
                    raise ArtifactNotFound(
                        "there is no such pin", f"pin {pin.pattern}", "`caskeeper pins` lists them as written"
                    )
            for pin in pins:
                self._pins.remove(pin)
            self._still_mine(run)
        return tuple(pin.pattern for pin in pins)

    def _still_mine(self, run: Run) -> None:
        """Nobody had the lease since we took it, so no cleanup runs that has read the pins before.

        Raises LeaseLost, StateLost.
        """
        self._maintenance.coordination.maintenance.renew(run.holder, run.epoch)

    def _here(self, pin: Pin) -> int:
        """How many refs it protects; looked at after the lease, since they stay now."""
        refs = self._maintenance.refs
        if not pin.is_glob:
            return int(os.path.lexists(f"{refs.volume.layout.refs}/{pin.pattern}"))
        one = PinSet((pin,))
        return sum(1 for entry in refs.listing() if one.holder(entry.ref))


def pinned_by(pins: PinSet, ref: Ref) -> str:
    """Why a ref may not go; '' = no pin protects it."""
    pattern = pins.holder(ref)
    return f"pinned by {pattern}" if pattern else ""
