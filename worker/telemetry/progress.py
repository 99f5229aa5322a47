"""Progress, throttled: verbs report as often as they like, a thread of its own passes the latest on.

So a slow or absent Redis holds up the display of a transfer, not the transfer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from caskeeper.contract import Progress

#: Between two reports of one job: about three a second (queue.md 6).
INTERVAL_S = 0.3


class Reporter:
    """``with Reporter(send) as progress: … progress(Progress(…))``.

    After the block nothing is sent any more, so a late report cannot overwrite the result.
    """

    def __init__(self, send: Callable[[Progress], None], *, interval_s: float = INTERVAL_S) -> None:
        self._send = send
        self._interval_s = interval_s
        self._latest: Progress | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        """Remember; costs nothing, from any thread."""
        self._latest = progress

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        sent = None
        while not self._over.wait(self._interval_s):
            latest = self._latest
            if latest is not None and latest != sent:
                self._send(latest)
                sent = latest
