"""Going on after a cleanup that died: what it had condemned is nobody's to take away any more.

The marks of a cleanup stay until the next run of maintenance, and nobody may be in need of one for an hour.
Who meets a mark and finds the lease of its maker over runs one, so that it waits for one lease life at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, LeaseLost

if TYPE_CHECKING:
    from worker.services.maintenance import Maintenance


def relieve(maintenance: Maintenance) -> bool:
    """Put back what a dead cleanup had taken and clear its marks.

    False: the lease is somebody's who lives, or somebody else is doing this. Raises what a run raises.
    """
    try:
        if maintenance.coordination.maintenance.holder() is not None:
            return False
        with maintenance.run("recovery", wait_s=0.0, check=lambda: None):
            return True
    except (Busy, LeaseLost, StateLost):
        return False
