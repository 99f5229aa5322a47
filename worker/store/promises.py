"""What a server told its clients outlives the server: empty files ``tmp/served-<id>`` (docs/decisions/0004).

A file's time is the moment from which on something was promised. A cleanup spares what is younger, as long
as the file is not too old itself; so it needs nobody who is alive.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from worker.store.failures import failure

if TYPE_CHECKING:
    from worker.store.volume import Volume

PREFIX = "served-"
#: For so many graces a file is heeded: a promise is added to it during the first quarter of one.
HEEDED = 1.25


class Promises:
    """The promises on one volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def make(self) -> str:
        """From now on something is promised; the path of the file that says so."""
        path = f"{self._volume.layout.staging}/{PREFIX}{uuid.uuid4().hex}"
        self._volume.create(path)
        return path

    def end(self, path: str) -> None:
        """The promise was kept; silent when the file is gone."""
        self._volume.unlink(path)

    def heed(self, now_ns: int, *, grace_s: float) -> list[int]:
        """Since when something is promised, once for each file; those that are too old are removed."""
        found = []
        try:
            with os.scandir(self._volume.layout.staging) as entries:
                paths = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
        except OSError as error:
            raise failure(error, self._volume.layout.staging) from error
        for path in paths:
            try:
                made_ns = os.lstat(path).st_mtime_ns
            except FileNotFoundError:
                continue  # its server has just ended it
            except OSError as error:
                raise failure(error, path) from error
            if now_ns - made_ns < HEEDED * grace_s * 1e9:
                found.append(made_ns)
            elif not os.path.isdir(path):
                self.end(path)
        return found
