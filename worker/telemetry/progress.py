"""Progress, throttled: verbs report as often as they like, another thread passes the latest on.

So a slow or absent Redis holds up the display of a transfer, not the transfer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from worker.repeating import Repeated

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
        self._sent: Progress | None = None
        self._repeated: Repeated | None = None

    def __call__(self, progress: Progress) -> None:
        """Remember; costs nothing, from any thread."""
        self._latest = progress

    def __enter__(self) -> Self:
        self._repeated = Repeated(self._pass_on, every_s=self._interval_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._repeated is not None:
            self._repeated.end()

    def _pass_on(self) -> bool:
        latest = self._latest
        if latest is not None and latest != self._sent:
            self._send(latest)
            self._sent = latest
        return True
