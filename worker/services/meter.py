"""How far a transfer is: counted by many threads, shown by the one that waits for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from caskeeper.contract import Progress

if TYPE_CHECKING:
    from collections.abc import Collection

    from caskeeper.digest import Digest
    from worker.protocols import Context


class Meter:
    """Pairs of [objects, bytes]: ``total`` is to travel, ``done`` has, ``present`` was there already."""

    def __init__(self, context: Context, phase: str) -> None:
        self._context = context
        self._guard = threading.Lock()
        self.phase = phase
        self.total = [0, 0]
        self.done = [0, 0]
        self.present = [0, 0]

    def expect(self, wanted: Collection[Digest], missing: Collection[Digest]) -> None:
        """``missing`` of ``wanted`` are to travel, the others are there already."""
        missing_bytes = sum(digest.size_bytes for digest in missing)
        with self._guard:
            self.total[0] += len(missing)
            self.total[1] += missing_bytes
            self.present[0] += len(wanted) - len(missing)
            self.present[1] += sum(digest.size_bytes for digest in wanted) - missing_bytes
        self.show()

    def add(self, objects: int, size_bytes: int) -> None:
        """So much more has arrived."""
        with self._guard:
            self.done[0] += objects
            self.done[1] += size_bytes

    def show(self) -> None:
        """Tell whoever runs this."""
        self._context.progress(
            Progress(
                phase=self.phase,
                done_objects=self.done[0],
                done_bytes=self.done[1],
                total_objects=self.total[0],
                total_bytes=self.total[1],
                present_objects=self.present[0],
                present_bytes=self.present[1],
            )
        )
