"""Uploads that broke off, kept for a while so that their clients can go on (wire-protocols section 4).

Promises: what is kept is bounded in number, bytes and time, and paid for while it lies there (I5); it is
hashed from its first byte on, so the whole is verified like one that came at once. It lives in the folder of
the operation it began under and ends with that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caskeeper.errors import Busy
from worker.protocols import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.server.needs import Operation
    from worker.store.arriving import Arriving

#: What is shorter is sent again sooner than asked about.
SHORTEST_BYTES = CHUNK_BYTES
#: How many are kept, with how many bytes, for how long.
MOST = 16
MOST_BYTES = 4 * 1024**3
KEPT_S = 120.0
#: How long a client that goes on waits for its own earlier call to end.
HANDOVER_S = 5.0


@dataclass(eq=False)
class Upload:
    """One upload by its resource name. ``stop`` ends the call that runs it; None while it is kept."""

    name: str
    operation: Operation
    arriving: Arriving
    stop: Callable[[], object] | None
    kept_since_s: float = 0.0


class Uploads:
    """All uploads of one server that run or are kept. Safe to use from several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._by_name: dict[str, Upload] = {}

    def begin(
        self, name: str, operation: Operation, arriving: Arriving, stop: Callable[[], object]
    ) -> Upload:
        """An upload runs. One that was kept under the same name is given up: its client starts over."""
        upload = Upload(name, operation, arriving, stop)
        with self._changed:
            before = self._by_name.get(name)
            if before is not None and before.stop is None:
                self._drop(before)
            self._by_name[name] = upload
        return upload

    def committed(self, name: str) -> int | None:
        """How many bytes of it have come; None: there is no such upload."""
        with self._changed:
            upload = self._by_name.get(name)
            return None if upload is None else upload.arriving.size_bytes

    def take(self, name: str, offset: int, stop: Callable[[], object]) -> Upload | None:
        """The upload of that name at that offset, to go on with; None: there is none.

        An earlier call that still runs it is ended first. Busy when it does not end in time.
        """
        with self._changed:
            upload = self._by_name.get(name)
            if upload is not None and upload.stop is not None:
                upload.stop()
                self._changed.wait_for(lambda: self._is_idle(name), HANDOVER_S)
                if not self._is_idle(name):
                    raise Busy("an earlier call still writes this upload", name[:200])
                upload = self._by_name.get(name)
            if upload is None or upload.arriving.size_bytes != offset:
                return None
            upload.stop = stop
            return upload

    def _is_idle(self, name: str) -> bool:
        upload = self._by_name.get(name)
        return upload is None or upload.stop is None

    def over(self, upload: Upload) -> None:
        """It was published."""
        with self._changed:
            self._forget(upload)
            self._changed.notify_all()

    def drop(self, upload: Upload) -> None:
        """It failed for good: nothing of it is kept."""
        with self._changed:
            self._drop(upload)
            self._changed.notify_all()

    def keep(self, upload: Upload) -> None:
        """It broke off. Kept if that is worth it; the oldest go where it becomes too many or too much."""
        with self._changed:
            upload.stop = None
            upload.kept_since_s = self._clock()
            if self._by_name.get(upload.name) is upload and upload.arriving.size_bytes >= SHORTEST_BYTES:
                upload.arriving.pause()
                self._make_way()
            else:
                self._drop(upload)
            self._changed.notify_all()

    def _make_way(self) -> None:
        kept = sorted(self._kept(), key=lambda upload: upload.kept_since_s)
        left_bytes = sum(upload.arriving.size_bytes for upload in kept)
        while len(kept) > MOST or (left_bytes > MOST_BYTES and len(kept) > 1):
            oldest = kept.pop(0)
            left_bytes -= oldest.arriving.size_bytes
            self._drop(oldest)

    def _kept(self) -> list[Upload]:
        return [upload for upload in self._by_name.values() if upload.stop is None]

    def _drop(self, upload: Upload) -> None:
        self._forget(upload)
        upload.arriving.discard()

    def _forget(self, upload: Upload) -> None:
        if self._by_name.get(upload.name) is upload:
            del self._by_name[upload.name]

    def turn(self) -> None:
        """One look at the clock: drop what was kept long enough."""
        with self._changed:
            for upload in self._kept():
                if self._clock() - upload.kept_since_s >= KEPT_S:
                    self._drop(upload)

    def ended(self, operation: Operation) -> None:
        """The operation ends, and with it what was kept in its folder."""
        with self._changed:
            for upload in self._kept():
                if upload.operation is operation:
                    self._drop(upload)
