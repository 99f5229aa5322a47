"""Transfers at one remote, counted across all workers: who comes when all places are taken waits its turn.

A place is a lease that this process renews. When Redis does not answer nobody is kept from working.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from caskeeper.contract import Progress
from caskeeper.coordination.limits import PLACE_S
from caskeeper.errors import CoordinatorUnavailable
from worker import errand

if TYPE_CHECKING:
    from caskeeper.coordination.limits import Limits
    from worker.protocols import Context

log = logging.getLogger(__name__)

#: How often whoever waits asks again: at first, and at most.
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.05, 0.5


class Turns:
    """The places of this process. Made after the fork: its thread does not survive one."""

    def __init__(self, limits: Limits | None = None, *, most: int = 0) -> None:
        """``most`` transfers at once at each remote, whichever worker runs them; 0 = no limit."""
        self.limits = limits
        self.most = most
        self._guard = threading.Lock()
        self._held: set[Turn] = set()
        self._keeper: threading.Thread | None = None

    def at(self, url: str, context: Context) -> Turn:
        """A turn at a remote, not taken yet."""
        return Turn(self, url, context)

    def hold(self, turn: Turn) -> None:
        """Renew it from now on."""
        with self._guard:
            self._held.add(turn)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="turns", daemon=True)
                self._keeper.start()

    def leave(self, turn: Turn) -> None:
        """It is over."""
        with self._guard:
            self._held.discard(turn)

    def _keep(self) -> None:
        while True:
            time.sleep(PLACE_S / 4)
            with self._guard:
                held = tuple(self._held)
                if not held:
                    self._keeper = None
                    return
            for turn in held:
                turn.renew()


class Turn:
    """One verb's turn at one remote: taken before the first content moves, given back at the end.

    Asking what a remote has takes none: a build's misses do not stand in line behind long transfers.
    """

    def __init__(self, turns: Turns, url: str, context: Context) -> None:
        self._turns = turns
        self._url = url
        self._context = context
        self._name = f"remote:{url}"
        self._token = uuid.uuid4().hex
        self._guard = threading.Lock()
        self._mine = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._guard:
            if self._mine and self._turns.limits is not None:
                self._turns.leave(self)
                with suppress(CoordinatorUnavailable):  # then it expires
                    self._turns.limits.release(self._name, self._token)
            self._mine = False

    def need(self) -> None:
        """Wait for the turn, unless it is there. Raises what ``check`` of the context does."""
        if self._mine or self._turns.limits is None or self._turns.most <= 0:
            return
        with self._guard:
            pause_s = _FIRST_LOOK_S
            while not self._mine:
                if self._take():
                    self._mine = True
                    self._turns.hold(self)
                    return
                self._context.progress(Progress(phase=f"waiting for a turn at {self._url}"))
                self._context.check()
                errand.pause(pause_s)
                pause_s = min(2 * pause_s, _SLOWEST_LOOK_S)

    def renew(self) -> None:
        """Keep it; what was lost is not waited for a second time in the middle of a transfer.

        Not while it is given back: whoever left would have a place that nobody gives back.
        """
        with self._guard:
            if self._mine:
                self._take()

    def _take(self) -> bool:
        limits = self._turns.limits
        assert limits is not None
        try:
            return limits.take(self._name, self._token, limit=self._turns.most)
        except CoordinatorUnavailable as gone:
            log.debug("no turn asked for", extra={"url": self._url, "reason": str(gone)})
            return True
