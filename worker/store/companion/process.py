"""The companion's side: does what it is told, one unit after the other, until its owner is gone."""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from caskeeper.layout import Layout
from worker.store.blobs import StoreBlobs
from worker.store.companion.line import Line
from worker.store.companion.messages import BACK, STOP, Do, Done, Open, Over, Spare, Spend
from worker.store.companion.works import begin
from worker.store.objects import Objects
from worker.store.staging import Staging
from worker.store.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

#: After so long it answers with what it has: the work that is left is then divided anew.
AT_ONCE_S = 0.02
#: So many files between two looks whether to stop.
_CHECK_EACH = 64


class _Stopped(BaseException):
    """The owner wants no more."""


class _Alone(BaseException):
    """The owner is gone. No work may take it for trouble of its own."""


def main(fd: int, owner: int) -> None:
    """Work for the process ``owner`` over the socket ``fd``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the job goes on, and so does what works for it
    gc.freeze()
    gc.set_threshold(20_000)
    try:
        watched = os.pidfd_open(owner)
    except (AttributeError, OSError):  # not everywhere; it ends with the line, too
        watched = -1
    if os.getppid() == owner:  # else it ended before it could be watched
        serve(Line(socket.socket(fileno=fd), peer=watched))


def serve(line: Line) -> None:
    """Until the other end is closed, or whoever had it has ended."""
    mail = _Mail(line)
    try:
        while True:
            mail.put(_Desk(mail, mail.opening()).work())
            gc.collect()  # a desk and its staging know each other; what they have open ends with them
    except _Alone:
        pass


class _Mail:
    """What the owner says, some of which comes before it is wanted. Raises _Alone and _Stopped."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._waiting: deque[Do] = deque()
        #: what is not spent, which is the owner's from then on
        self.spare: Callable[[], int] = int

    def opening(self) -> Open:
        """The next operation."""
        self._waiting.clear()
        while not isinstance(message := self._get(None), Open):
            pass
        return message

    def next(self) -> Do:
        """What is to be done next."""
        while not self._waiting:
            self._sort(self._get(None))
        return self._waiting.popleft()

    def look(self) -> None:
        """Raises _Stopped as soon as the owner has said so."""
        while (message := self._get(0.0)) is not None:
            self._sort(message)

    def room(self, charged_bytes: int) -> int:
        """So many bytes, or more."""
        self.put(Spend(charged_bytes))
        while (granted := self._sort(self._get(None))) is None:
            pass
        return granted

    def put(self, message: Done | Over | Spare | Spend) -> None:
        """Say it."""
        try:
            self._line.put(message)
            self._line.drain()
        except (EOFError, OSError):
            raise _Alone from None

    def _get(self, wait_s: float | None) -> object | None:
        try:
            return self._line.get(wait_s)
        except (EOFError, OSError):
            raise _Alone from None

    def _sort(self, message: object) -> int | None:
        """The number if it is one."""
        if message == STOP:
            raise _Stopped
        if message == BACK:
            self.put(Spare(self.spare()))
        if isinstance(message, int):
            return message
        if isinstance(message, Do):
            self._waiting.append(message)
        return None


class _Desk:
    """The work for one operation."""

    def __init__(self, mail: _Mail, opened: Open) -> None:
        self._mail = mail
        self._spare_bytes = 0
        self._told_bytes = 0
        self._calls = 0
        if opened.umask is not None:
            os.umask(opened.umask)
        volume = Volume(Layout(opened.root))
        volume.block_bytes, volume.has_noreplace = opened.block_bytes, opened.has_noreplace
        self._staging = Staging(
            volume,
            opened.operation_id,
            spend=self._spend,
            refund=self._refund,
            check=mail.look,  # once for many blobs, so each time
            spend_at_hand=self._spend_at_hand,
            place=opened.place,
        )
        self._staging.start_ns = opened.start_ns
        self._opened = opened
        mail.spare = self._give_back

    def work(self) -> Over:
        """Until the owner says that it is over."""
        try:
            blobs = StoreBlobs(self._staging, Objects(self._staging.volume))
            do, failure = None, None
            try:
                do = begin(self._opened, blobs, self._check)
            except Exception as error:  # noqa: BLE001 -- raised again by the owner
                failure = error
            while True:
                units = self._mail.next().units
                done = Done([], 0, failure) if do is None else self._do(do, units)
                self._mail.put(done)
        except _Stopped:
            self._mail.spare = int  # which would keep this one, and what it has open
            return Over(self._added_bytes(), self._spare_bytes)

    def _do(self, do: Callable[[Any], Any], units: list[Any]) -> Done:
        """As many of them as there is time for, and one in any case."""
        results: list[Any] = []
        failure: BaseException | None = None
        end_s = time.monotonic() + AT_ONCE_S
        try:
            for unit in units:
                results.append(do(unit))
                if time.monotonic() > end_s:
                    break
                self._mail.look()
        except Exception as error:  # noqa: BLE001 -- raised again by the owner
            failure = error
        return Done(results, self._added_bytes(), failure)

    def _added_bytes(self) -> int:
        """Since it was told last."""
        added, self._told_bytes = self._staging.added_bytes - self._told_bytes, self._staging.added_bytes
        return added

    def _check(self) -> None:
        self._calls += 1
        if self._calls % _CHECK_EACH == 0:
            self._mail.look()

    def _spend(self, charged_bytes: int) -> None:
        while charged_bytes > self._spare_bytes:  # meanwhile it may be asked to give back what it has
            granted = self._mail.room(charged_bytes - self._spare_bytes)
            self._spare_bytes += granted
        self._spare_bytes -= charged_bytes

    def _spend_at_hand(self, charged_bytes: int) -> bool:
        if charged_bytes > self._spare_bytes:
            return False
        self._spare_bytes -= charged_bytes
        return True

    def _refund(self, charged_bytes: int) -> None:
        self._spare_bytes += charged_bytes

    def _give_back(self) -> int:
        spare, self._spare_bytes = self._spare_bytes, 0
        return spare
