"""One volume is served through one Redis database: the refusal of a second one (decision 0005).

Two databases would know nothing of each other's operations and sessions: each would fence and evict what
the other's rely on. The volume itself says which one it is under; whoever begins an epoch writes that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.coordination import Coordination
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable, PermissionDenied
from worker.store.coordinator import Coordinator, read_coordinator, write_coordinator

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.layout import Layout
    from worker.store.volume import Volume

#: How long another database may take to say that it is there.
_TRY_S = 1.0


def refuse_second(volume: Volume, coordination: Coordination) -> None:
    """Raises ConfigInvalid when another Redis database serves this volume.

    A volume of an earlier release gets its COORDINATOR here, unless somebody else is faster.
    """
    layout = volume.layout
    while True:
        state = coordination.state()
        there = read_coordinator(layout)
        if there is None:
            if state.ready and state.epoch and not os.path.lexists(layout.coordinator):
                written = Coordinator(state.epoch, coordination.address)
                write_coordinator(volume, written, replaces=False)
            return
        if there.epoch == state.epoch:
            return
        if not state.ready or state.lost:
            break
        if coordination.state().epoch == state.epoch:
            raise two_databases(there, coordination, layout)
        # an epoch began between the two looks, and with it came another file
    if there.redis != coordination.address and _serves(there, coordination):
        raise ConfigInvalid(
            f"two Redis databases serve this volume: {there.redis} does, and this one would",
            coordination.address,
            f"use that one, or stop it; if the database was moved, remove {layout.coordinator}",
        )


def _serves(there: Coordinator, coordination: Coordination) -> bool:
    """Whether the database that the file names still has the state that the file tells of."""
    try:
        return Coordination.epoch_of(there.redis, coordination.volume_id, _TRY_S) == there.epoch
    except PermissionDenied:
        return True  # somebody is there, and in doubt it is the one
    except (CoordinatorUnavailable, ConfigInvalid):
        return False


def two_databases(there: Coordinator, coordination: Coordination, layout: Layout) -> ConfigInvalid:
    """What to raise when the volume came under another database while this one had its state ready."""
    return ConfigInvalid(
        f"two Redis databases serve this volume: {there.redis}, says {layout.coordinator}, and this one",
        coordination.address,
        "use that one; if it is gone for good, empty this one "
        f"(an embedded one: remove {layout.run}/appendonlydir)",
    )


def take_up(
    volume: Volume,
    coordination: Coordination,
    epoch: str,
    *,
    begins: bool,
    still_mine: Callable[[], None] = lambda: None,
) -> None:
    """Make COORDINATOR say what holds: ``epoch`` begins, or is the one that it tells of already.

    ``still_mine`` raises when another epoch or another holder came meanwhile. ConfigInvalid: the volume is
    under another database.
    """
    there = None if begins else read_coordinator(volume.layout)
    if there is None:
        written = Coordinator(epoch, coordination.address)
        write_coordinator(volume, written, last_look=still_mine)
    elif there.epoch != epoch:
        still_mine()
        raise two_databases(there, coordination, volume.layout)
