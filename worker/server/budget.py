"""How much of other people's messages a server takes into memory at the same time.

A tree of half a million files is some tens of MiB on the wire and several times that while it is looked
through. One call may need that much; many at once are refused, and come again.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeAlias

from caskeeper.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    #: Called with a number of bytes before they are read. Raises Busy.
    Take: TypeAlias = Callable[[int], None]

#: Bytes on the wire, of all calls together.
TOTAL_BYTES = 64 * 1024 * 1024


class Budget:
    """Shared by the calls of one server. Safe to use from several threads."""

    def __init__(self, total_bytes: int = TOTAL_BYTES) -> None:
        self._total_bytes = total_bytes
        self._guard = threading.Lock()
        self._taken_bytes = 0

    @contextlib.contextmanager
    def call(self) -> Iterator[Take]:
        """What one call takes is given back when it ends. One alone is never refused."""
        mine = 0

        def take(size_bytes: int) -> None:
            nonlocal mine
            with self._guard:
                alone = self._taken_bytes == mine
                if not alone and self._taken_bytes + size_bytes > self._total_bytes:
                    raise Busy(
                        "other calls look through large trees", way_out="try again when they have ended"
                    )
                self._taken_bytes += size_bytes
                mine += size_bytes

        try:
            yield take
        finally:
            with self._guard:
                self._taken_bytes -= mine
