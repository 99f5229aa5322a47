"""Quarantine: the few damaged files that are kept below ``cas/damaged`` for whoever wants to look at them.

What lies here is no object any more and never becomes one again. It is counted in ``used`` like everything
below ``cas/``, so it is the first thing that goes when room is needed; beyond a bound the oldest go at once.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from worker.store.failures import failure

if TYPE_CHECKING:
    from worker.store.volume import Volume

#: So many are kept, with so many bytes.
MOST = 16
MOST_BYTES = 256 * 1024 * 1024
#: How the name of a ref record begins; the rest of it is the ref's.
RECORD = "ref%"
_NAME = re.compile(rf"(?:([0-9a-f]{{64}})|{RECORD}.{{1,250}})\Z", re.DOTALL)


class Quarantined(NamedTuple):
    """One file. ``size_bytes`` as charged, ``age_ns``: since when, by the volume's clock.

    ``hash_hex`` is empty for a ref record.
    ``links``: how many more names it has; those are in checkouts, and as damaged as it is.
    """

    hash_hex: str
    path: str
    size_bytes: int
    age_ns: int
    links: int


class Quarantine:
    """The quarantine of one volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.folder = volume.layout.damaged

    def keep(self, taken: str, name: str) -> bool:
        """Give a file out of a trash folder its place here, as of now.

        ``name``: an object's hash, or that of a record. False: one of it is kept already, or it left the
        trash. LeaseLost: the trash folder is gone.
        """
        return self._volume.touch(taken) and self._volume.put_back(taken, f"{self.folder}/{name}")

    def listing(self) -> list[Quarantined]:
        """What is kept, the oldest first. What has no name of ours is not listed (I9)."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    name = _NAME.match(entry.name)
                    if name and stat.S_ISREG(status.st_mode):
                        size_bytes = self._volume.charge(status.st_size)
                        found.append(
                            Quarantined(
                                name[1] or "",
                                entry.path,
                                size_bytes,
                                status.st_atime_ns,
                                status.st_nlink - 1,
                            )
                        )
        except FileNotFoundError:
            return sorted(found, key=lambda one: one.age_ns)
        except OSError as error:
            raise failure(error, self.folder) from error
        return sorted(found, key=lambda one: one.age_ns)

    def excess(self) -> list[Quarantined]:
        """Those beyond the bounds, the oldest first."""
        kept = self.listing()
        left_bytes = sum(one.size_bytes for one in kept)
        going: list[Quarantined] = []
        for one in kept:
            if len(kept) - len(going) <= MOST and left_bytes <= MOST_BYTES:
                break
            going.append(one)
            left_bytes -= one.size_bytes
        return going
