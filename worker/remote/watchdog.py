"""A stream that does not move is ended: gRPC's blocking iteration has no deadline per message (B.19)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """One stream under watch: the time it may stand still counts only while we wait for the network."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._waiting_since: float | None = None
        self.expired = False

    def wait(self) -> None:
        """From now on the network is waited for."""
        self._waiting_since = time.monotonic()

    def moved(self) -> None:
        """Something came; what happens until the next ``wait`` is our own time."""
        self._waiting_since = None

    def look(self, silence_s: float) -> None:
        """Ends the stream when it has been silent for too long."""
        since = self._waiting_since
        if since is not None and not self.expired and time.monotonic() - since > silence_s:
            self.expired = True
            self._cancel()


class Watchdog:
    """The watched streams of one remote; its thread lives as long as there are any."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._interval_s = min(1.0, silence_s / 4)
        self._watches: set[Watch] = set()
        self._changed = threading.Condition()
        self._running = False

    def watch(self, cancel: Callable[[], object]) -> Watch:
        """Put a stream under watch; ``cancel`` must not block."""
        watch = Watch(cancel)
        with self._changed:
            self._watches.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="stream-watchdog", daemon=True).start()
        return watch

    def leave(self, watch: Watch) -> None:
        """The stream is over."""
        with self._changed:
            self._watches.discard(watch)
            if not self._watches:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._watches:
                    self._changed.wait(self._interval_s)
                if not self._watches:
                    self._running = False
                    return
                watches = tuple(self._watches)
            for watch in watches:
                watch.look(self._silence_s)
