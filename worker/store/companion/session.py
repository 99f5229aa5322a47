"""One operation's use of its companion: hands it work, pays for it, and counts what it published."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Self

from caskeeper.errors import CaskeeperError, NoSpace
from worker.store.companion.messages import BACK, STOP, CompanionLost, Do, Done, Open, Over, Spare, Spend
from worker.store.system_calls import known_umask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.store.blobs import StoreBlobs
    from worker.store.companion.line import Line
    from worker.store.companion.owner import Companion

log = logging.getLogger(__name__)

#: How often the owner looks at the time while it waits for the end, in seconds.
LOOK_S = 0.1
#: How long a companion that was told to stop may take; a slow disk holds it for one folder.
STOP_S = 5.0
#: One that says nothing for so long, twice, and uses no processor time in between, is stopped or stuck.
SILENT_S = 5.0
#: Room is handed out in such pieces where it is at hand: few questions, little that a kill leaves in doubt.
AHEAD_BYTES = (4 * 1024 * 1024, 1024 * 1024, 256 * 1024)


class Session:
    """One operation's use of the companion, in a context that ends it.

    For one thread at a time, but for ``take_back``.
    """

    def __init__(
        self, companion: Companion, work: str, blobs: StoreBlobs, particulars: dict[str, Any]
    ) -> None:
        self._companion = companion
        self._work = work
        self._objects = blobs.objects
        self._staging = blobs.staging
        self._particulars = particulars
        self._line: Line | None = None
        #: False: it was lost, and a dead disk holds it: what it was at may still happen
        self.has_ended = True
        self._given_bytes = 0  # less what was told to be published: what a kill leaves in doubt
        self._place = ""
        self._lost = ""  # why
        self._heard = False
        self._speaking = threading.RLock()
        self._is_granting = False
        self._asked_back = False
        self._kept: deque[Done | Spend] = deque()  # what came for somebody else
        self._unanswered = 0
        self._silent_since_s = 0.0
        self._ticks: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_trouble: object) -> None:
        if self._line is None or not self._companion.is_ours():  # not in who was forked meanwhile
            return
        with self._speaking:
            try:
                if not self._lost:
                    self._stop()
            except CompanionLost:
                pass  # said below
            except BaseException as error:
                self._lost = repr(error)  # it may still be at work: whoever comes next must not hear of that
                raise
            finally:
                self._end()

    def begin(self) -> bool:
        """Take it; False: it is not to be had now."""
        if not self._companion.take():
            return False
        try:
            self._place = self._staging.place_apart()
        except NoSpace:  # not a block or an inode for a folder: what needs none goes on without it
            self._companion.give_back(lost=False, heard=False)
            return False
        except BaseException:
            self._companion.give_back(lost=False, heard=False)
            raise
        try:
            self._line = self._companion.line()
            self._say(self._opening())
            self._staging.aside = self
        except CompanionLost as error:
            self._lost = str(error)
            self._end()
            return False
        except BaseException as error:
            self._lost = repr(error)
            self._end()
            raise
        return True

    def send(self, units: Sequence[Any]) -> None:
        """Have them done, after those that were sent before. CompanionLost."""
        with self._speaking:
            self._ask()
            self._unanswered += 1
            self._say(Do(list(units)))

    def receive(self, wait_s: float) -> list[Any] | None:
        """The results of the first units of what was sent first; None: not yet.

        Raises what the work raises, what spending raises, and CompanionLost.
        """
        with self._speaking:
            while (answer := self._kept.popleft() if self._kept else self._hear(wait_s)) is not None:
                if isinstance(answer, Spend):
                    self._grant(answer.charged_bytes)
                elif isinstance(answer, Done):
                    if isinstance(answer.failure, CaskeeperError):
                        raise self._objects.told(answer.failure)
                    if answer.failure is not None:
                        raise answer.failure
                    return answer.results
        return None

    def take_back(self, wait_s: float) -> None:
        """Have the room that was given and is not spent refunded, within that time or later. By any thread.

        Not while it is granted more: then it has none.
        """
        if not self._speaking.acquire(timeout=wait_s):
            return
        try:
            if self._line is None or self._is_granting:
                return
            if not self._asked_back:
                self._ask()
                self._asked_back = True
                self._say(BACK)
            self._listen_for_spare(time.monotonic() + wait_s)
        except CompanionLost:
            pass  # whoever has the session meets it
        finally:
            self._speaking.release()

    def _listen_for_spare(self, end_s: float) -> None:
        while self._asked_back:
            left_s = max(0.0, end_s - time.monotonic())
            answer = self._hear(min(LOOK_S, left_s))
            if isinstance(answer, (Done, Spend)):
                self._kept.append(answer)
            elif answer is None and not left_s:
                return

    def _opening(self) -> Open:
        volume = self._staging.volume
        return Open(
            work=self._work,
            root=volume.layout.root,
            block_bytes=volume.block_bytes,
            has_noreplace=volume.has_noreplace,
            operation_id=self._staging.id,
            start_ns=self._staging.start_ns,
            place=self._place,
            umask=known_umask(),  # of now: the files of a private copy are made with it
            memory=self._companion.memory_fd,
            particulars=self._particulars,
        )

    def _grant(self, charged_bytes: int) -> None:
        ahead = (size for size in AHEAD_BYTES if size > charged_bytes and self._staging.spend_at_hand(size))
        self._is_granting = True
        try:
            granted = next(ahead, charged_bytes)
            if granted == charged_bytes:
                self._staging.spend(granted)
        finally:
            self._is_granting = False
        self._given_bytes += granted
        self._silent_since_s = time.monotonic()  # it may have waited for us
        self._say(granted)

    def _count(self, answer: Done | Over | Spare | Spend) -> None:
        if isinstance(answer, (Done, Over)):
            self._staging.add(answer.added_bytes)
            self._given_bytes -= answer.added_bytes
        if isinstance(answer, Done):
            self._unanswered -= 1
        if isinstance(answer, (Over, Spare)):
            spare_bytes = answer.spare_bytes if isinstance(answer, Over) else answer.charged_bytes
            self._given_bytes -= spare_bytes
            self._staging.refund(spare_bytes)
        if isinstance(answer, Spare):
            self._asked_back = False

    def _stop(self) -> None:
        """It leaves off and gives back what it has not spent."""
        self._say(STOP)
        end_s = time.monotonic() + STOP_S
        while not isinstance(answer := self._hear(LOOK_S), Over):
            if not isinstance(answer, Done) and time.monotonic() > end_s:
                self._lose("it does not stop")

    def _end(self) -> None:
        """Afterwards it does nothing for this operation any more."""
        try:
            if self._lost:
                log.warning("went on without a second process", extra={"why": self._lost})
                # All that it had may be published, or lie staged where it was: nothing is given back (I5),
                # and what was too much is found by a recount.
                self._staging.add(self._given_bytes)
                self._staging.is_doubtful |= self._given_bytes > 0
            elif self._place:
                self._staging.volume.remove_folder(self._place)  # or it stays, with what is left in it
        finally:
            self._line = self._staging.aside = None
            self.has_ended = self._companion.give_back(lost=bool(self._lost), heard=self._heard)

    # -- the line --------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """It is its turn to say something."""
        if not (self._unanswered or self._asked_back):
            self._silent_since_s, self._ticks = time.monotonic(), None

    def _hear(self, wait_s: float) -> Done | Spare | Spend | Over | None:
        """What it says, counted already."""
        if self._line is None or self._lost:
            self._lose(self._lost or "no session has begun")
        try:
            answer = self._line.get(wait_s)
        except (EOFError, OSError) as error:
            self._lose(str(error))
        if isinstance(answer, (Done, Spare, Spend, Over)):
            self._count(answer)
            self._heard = True
            self._silent_since_s, self._ticks = time.monotonic(), None
            return answer
        if time.monotonic() - self._silent_since_s > SILENT_S:
            ticks = self._companion.busy_ticks()
            if ticks is not None and ticks == self._ticks:
                self._lose("it does nothing")
            self._silent_since_s, self._ticks = time.monotonic(), ticks
        return None

    def _say(self, message: object) -> None:
        if self._line is None or self._lost:
            self._lose(self._lost or "no session has begun")
        try:
            self._line.put(message)
        except OSError as error:
            self._lose(str(error))

    def _lose(self, why: str) -> NoReturn:
        self._lost = why
        raise CompanionLost(why)
