"""Ctrl-C, once or more: the first unwinds, and those right behind it do not disturb that."""

from __future__ import annotations

import atexit
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.cli.failures import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A second one within this belongs to the first; a later one also ends what unwinds.
_SAME_S = 1.0


class CtrlC:
    """The handler of SIGINT for one call of the command."""

    def __init__(self) -> None:
        self._last_s = float("-inf")
        self._code: int | None = None
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody has us ignore it
            signal.signal(signal.SIGINT, self)
            # Registered first, called last: the interpreter, taking itself apart, gives a handler back to
            # the system, whose default is to kill; what is ignored stays so.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def over(self, code: int) -> None:
        """The outcome is told; nothing is left but the end of the interpreter, which may be cut short."""
        self._code = code

    def __call__(self, _number: int, _frame: object) -> None:
        if self._code is not None:
            os._exit(self._code)
        now = time.monotonic()
        if now - self._last_s > _SAME_S:
            self._last_s = now
            raise KeyboardInterrupt


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """SIGTERM raises Ended in here, as Ctrl-C raises KeyboardInterrupt: so a build ends that is cancelled.

    Once: a second one, as a process group and its leader get, does not disturb what unwinds. Where somebody
    has a handler of his own it stays.
    """
    mine = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except Ended:
        mine = False
        raise
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Ended(number)
