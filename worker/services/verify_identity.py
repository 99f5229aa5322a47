"""`verify` of what makes a folder this volume: FORMAT, COORDINATOR, and that its folders are its own.

A process that has begun needs neither file, so nobody else notices that one is damaged before the next one
shall start. Each is mended from the other and from Redis; where both are in doubt nothing is guessed (I9).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import CaskeeperError, ConfigInvalid
from worker.services.findings import IDENTITY, LINK
from worker.services.lost_format import find_or_mend_format, gone
from worker.services.one_coordinator import two_databases
from worker.services.verify_content import look
from worker.store.coordinator import Coordinator, read_coordinator, write_coordinator
from worker.store.format import creation_lock, find_format, replace_format
from worker.store.whole import broken_folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.services.findings import Findings
    from worker.services.maintenance import Maintenance

_NONE, _NO_FILE = "there is none", "it is no file"


class _Trouble(NamedTuple):
    """What is wrong with a file. ``way_out`` '' = the repair mends it."""

    what: str
    way_out: str = ""


class Identity:
    """One look, and one repair of what it found."""

    def __init__(self, maintenance: Maintenance, findings: Findings) -> None:
        self._maintenance, self._findings = maintenance, findings
        self._volume, self._coordination = maintenance.volume, maintenance.coordination
        self._layout = maintenance.volume.layout

    def run(self) -> None:
        """Look at all of it."""
        fanned = (self._layout.objects, self._layout.executables, self._layout.closures)
        for broken in broken_folders(self._layout):
            if not broken.is_link:
                self._findings.out_of_reach(broken.error())
            elif os.path.dirname(broken.path) not in fanned:  # a link there is told as a stranger
                self._findings.add(LINK, broken.path, broken.what, way_out=broken.way_out)
        for path, look_at in (
            (self._layout.format, self._format),
            (self._layout.coordinator, self._other),
        ):
            trouble = look_at()
            if trouble is not None:
                self._findings.add(IDENTITY, path, trouble.what, way_out=trouble.way_out)

    def _format(self) -> _Trouble | None:
        path = self._layout.format
        try:
            found = find_format(self._layout)
        except CaskeeperError as damage:
            # Whoever starts, and a repair, mends it where COORDINATOR says which volume this is.
            knows = not isinstance(damage, ConfigInvalid) and read_coordinator(self._layout) is not None
            return _Trouble(damage.what, "" if knows else damage.way_out)
        if found is None:
            without = gone(self._layout)
            return _Trouble(without.what, without.way_out)
        if found.volume_id != self._coordination.volume_id:
            mine = self._coordination.volume_id
            what = f"it says that this is volume {found.volume_id}, and Redis knows {mine}"
            return _Trouble(what, "restore it from a backup of this file")
        return _Trouble(_NO_FILE) if _is_no_file(path) else None

    def _other(self) -> _Trouble | None:
        path = self._layout.coordinator
        if look(path) is None:
            return _Trouble(_NONE)
        there = read_coordinator(self._layout)
        if there is None:
            return _Trouble("it is damaged")
        state = self._coordination.state()
        if state.ready and there.epoch != state.epoch and read_coordinator(self._layout) == there:
            other = two_databases(there, self._coordination, self._layout)
            return _Trouble(other.what, other.way_out)
        return _Trouble(_NO_FILE) if _is_no_file(path) else None

    def mend(self, check: Callable[[], None]) -> None:
        """COORDINATOR first, for it says which volume this is where FORMAT does not. LeaseLost, Busy."""
        found = {one.where: one for one in self._findings.of(IDENTITY)}
        other = found.get(self._layout.coordinator)
        if other is not None and self._other() is not None and self._format() is None:
            with self._maintenance.run("verify", check=check) as run:
                written = Coordinator(run.epoch, self._coordination.address)
                write_coordinator(self._volume, written, last_look=run.check)
        own = found.get(self._layout.format)
        left = None if own is None else self._format()  # COORDINATOR may be readable by now
        if own is not None and left is not None:
            own.way_out = left.way_out
        if own is not None and not own.way_out:
            mended = find_or_mend_format(self._layout, redis_url=self._coordination.url)
            if mended is not None and _is_no_file(self._layout.format):
                with creation_lock(self._volume):
                    replace_format(self._volume, mended)
        for one, trouble in ((other, self._other), (own, self._format)):
            if one is not None and trouble() is None:
                one.repaired, one.done = True, "written anew"


def _is_no_file(path: str) -> bool:
    there = look(path)
    return there is not None and not stat.S_ISREG(there.st_mode)
