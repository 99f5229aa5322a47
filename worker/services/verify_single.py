"""`verify --repair` of what one look at one file can mend: modes, times, what is in the way, leftovers."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from worker.services import findings as kinds
from worker.services.verify_content import look
from worker.store.trash import STRANGE, aside, unlink

if TYPE_CHECKING:
    from worker.services.findings import Found
    from worker.services.maintenance import Maintenance, Run


class SingleFiles:
    """What the holder of the lease may do with one of them."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance
        self._volume, self._layout = maintenance.volume, maintenance.volume.layout

    def mend(self, run: Run, found: Found) -> None:
        """Look again, and mend."""
        match found.kind:
            case kinds.MODE | kinds.TIME:
                self._set_right(found)
            case kinds.KIND:
                if not found.hash_hex:  # what stands in an object's place is for the quarantine to judge
                    self.put_aside(run, found)
            case _:
                self._take_leftover(run, found)

    def _set_right(self, found: Found) -> None:
        status = look(found.where)
        if status is None or not stat.S_ISREG(status.st_mode):
            return
        if found.kind == kinds.TIME:
            self._volume.settle_times(found.where)
        elif stat.S_IMODE(status.st_mode) != self.mode_of(found.where):
            self._volume.chmod(found.where, self.mode_of(found.where))
        found.done = "set right"

    def mode_of(self, path: str) -> int:
        """The mode that a published file has."""
        return 0o555 if path.startswith(f"{self._layout.executables}/") else 0o444

    def put_aside(self, run: Run, found: Found) -> None:
        """What stands in the place of something of ours and is no file: it is not ours to delete."""
        status = look(found.where)
        if status is None or stat.S_ISREG(status.st_mode):
            return
        name = os.path.relpath(found.where, self._layout.root).replace("/", "%")[-200:]
        taken = run.trash.place(STRANGE, name)
        if self._volume.take(found.where, taken):
            found.done = f"moved to {aside(self._volume, taken)}"

    def _take_leftover(self, run: Run, found: Found) -> None:
        """Folders went when the lease was taken; a file that was staged for a new volume is left."""
        found.done = "cleared"
        status = look(found.where)
        if status is not None and stat.S_ISREG(status.st_mode):
            taken = run.trash.fresh()
            if self._volume.take(found.where, taken):
                freed = unlink(self._volume, taken)
                self._maintenance.coordination.maintenance.give_back(run.holder, run.epoch, freed)
