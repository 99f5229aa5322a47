"""The volume side of an operation: its folder below ``tmp/`` (safety.md section 3).

The folder is the operation's right to change the volume: every change starts from it, so whoever renames
it away has stopped its owner for good, who then meets LeaseLost. Bytes are spent before they are written
and refunded when a staged file is removed unpublished, so nothing on the disk is ever unaccounted (I5).
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import threading
from typing import TYPE_CHECKING

from caskeeper.errors import LeaseLost
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from caskeeper.digest import Digest
    from caskeeper.layout import Layout
    from worker.protocols import Piece
    from worker.store.companion.batches import Batches
    from worker.store.companion.session import Session
    from worker.store.staged_file import StagedFile
    from worker.store.volume import Outcome, Volume

#: The name in an operation's folder under which it says what is reserved for it.
RESERVED = "reserved"
#: Up to a petabyte; more is nothing that an operation wrote.
_BYTES = re.compile("[0-9]{1,15}")


def _nobody(_digests: Collection[Digest]) -> None:
    """Nobody wants to know."""


def _nothing_at_hand(_charged_bytes: int) -> bool:
    """All room is to be asked for."""
    return False


def stated_reserved(layout: Layout, operation_id: str) -> int:
    """The charged bytes that an operation said it may still add; 0: it said nothing, or nothing of ours."""
    path = f"{layout.operation(operation_id)}/{RESERVED}"
    try:
        text = os.readlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.EINVAL:  # a file of somebody else
            return 0
        raise failure(error, path) from error
    return int(text) if _BYTES.fullmatch(text) else 0


class Staging:
    """One operation's folder, from ``begin`` to ``end``. Its methods may be called from several threads."""

    def __init__(
        self,
        volume: Volume,
        operation_id: str,
        *,
        spend: Callable[[int], None],
        refund: Callable[[int], None],
        check: Callable[[], None],
        spend_at_hand: Callable[[int], bool] = _nothing_at_hand,
        place: str = "",
    ) -> None:
        """Nothing happens before ``begin``.

        ``spend`` is told the charged bytes before they are written and raises when there is no room,
        ``refund`` those of a staged file that went unpublished; ``check`` raises to stop the work.
        ``spend_at_hand`` is ``spend`` that asks nobody for room: False when there is not enough at hand.
        ``place``: what ``place_apart`` gave to another process, a folder in the operation's own.
        """
        self.volume = volume
        self.id = operation_id
        self.folder = volume.layout.operation(operation_id)
        self._place = place or self.folder
        self.spend = spend
        self.spend_at_hand = spend_at_hand
        self.refund = refund
        self.check = check
        #: told of every object before it is published; a server's keeps a journal (worker.store.journal)
        self.announce: Callable[[Collection[Digest]], None] = _nobody
        #: where a part of many small things is done in another process
        self.batches: Batches | None = None
        #: the use of that other process, which has room ahead, as long as it lasts
        self.aside: Session | None = None
        #: more may be counted as added than was
        self.is_doubtful = False
        #: the operation's start in the volume's own clock: what is younger is this operation's to rely on
        self.start_ns = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._added_bytes = 0
        self._stated_bytes: int | None = None

    @property
    def added_bytes(self) -> int:
        """What this operation's successful publishes added to ``used`` so far."""
        return self._added_bytes

    def begin(self) -> None:
        """Make the folder, then ``start`` in it, whose time is the operation's start."""
        start = f"{self.folder}/start"
        if not self.volume.make_folder(self.folder):
            raise LeaseLost(f"operation {self.id} has begun before", self.folder)
        self.volume.create(start)
        try:
            self.start_ns = os.stat(start).st_mtime_ns
        except FileNotFoundError:
            raise LeaseLost(f"the folder of {self.id} was taken away", self.folder) from None
        except OSError as error:
            raise failure(error, start) from error

    def confirm(self) -> None:
        """Raises LeaseLost when the folder was taken away.

        For an answer that changes nothing, and so meets no fence: what the operation had claimed was its own
        until now.
        """
        try:
            os.lstat(self.folder)
        except FileNotFoundError:
            raise LeaseLost(f"the folder of {self.id} was taken away", self.folder) from None
        except OSError as error:
            raise failure(error, self.folder) from error

    def path(self) -> str:
        """A name in the folder that was not used before."""
        return f"{self._place}/{next(self._numbers)}"

    def place_apart(self) -> str:
        """A new folder in the operation's own: for somebody who would wait for its lock."""
        path = self.path()
        self.volume.make_folder(path)
        return path

    def add(self, charged_bytes: int) -> None:
        """Count what a successful publish added."""
        with self._lock:
            self._added_bytes += charged_bytes

    # -- what is reserved ------------------------------------------------------------------------------

    def state_reserved(self, size_bytes: int) -> None:
        """Say on the volume what this operation may still add; nothing is said while it is 0.

        A symbolic link, whose text is replaced in one step and counts nothing as used. One caller at a time.
        Raises NoSpace, LeaseLost; what was said before still stands then.
        """
        if size_bytes == (self._stated_bytes or 0):
            return
        link = f"{self.folder}/{RESERVED}"
        if self._stated_bytes is None:
            self.volume.symlink(str(size_bytes), link)
        else:
            new = self.path()
            self.volume.symlink(str(size_bytes), new)
            self.volume.replace(new, link)
        self._stated_bytes = size_bytes

    # -- from bytes to a published file ----------------------------------------------------------------

    def stage(self, data: Piece, *, mode: int = 0o444) -> str:
        """Spend, then write a new file in the folder; its path. NoSpace, LeaseLost, and what spend raises."""
        charged = self.volume.charge(len(data))
        path = self.path()
        self.spend(charged)
        self._stage_paid(path, data, mode, charged)
        return path

    def store(self, data: Piece, target: str, *, charged: int, paid: bool, mode: int = 0o444) -> bool:
        """``stage`` and ``publish`` in one, for the many small ones. ``paid``: they are spent already."""
        path = f"{self._place}/{next(self._numbers)}"
        if not paid:
            self.spend(charged)
        self._stage_paid(path, data, mode, charged)
        if self.volume.publish(path, target):
            with self._lock:
                self._added_bytes += charged
            return True
        self.discard(path, size_bytes=len(data))
        return False

    def _stage_paid(self, path: str, data: Piece, mode: int, charged: int) -> None:
        try:
            self.volume.stage(path, data, mode=mode)
        except BaseException:
            self._refund_missing(path, charged)
            raise

    def _refund_missing(self, path: str, charged: int) -> None:
        """Of what could not be staged; what a broken disk did not let go of stays paid for (I5).

        So does what a fence has taken: it lies in a trash folder. Hence the folder last.
        """
        if not os.path.lexists(path) and os.path.lexists(self.folder):
            self.refund(charged)

    def stage_stream(self, size_bytes: int, *, mode: int = 0o444) -> StagedFile:
        """Spend for ``size_bytes``, then open a new file.

        The caller writes no more than that, and hands it to ``publish`` or ``discard`` in the end.
        """
        charged = self.volume.charge(size_bytes)
        path = self.path()
        self.spend(charged)
        try:
            return self.volume.stage_stream(path, mode=mode)
        except BaseException:
            self._refund_missing(path, charged)
            raise

    def publish(self, staged: str, target: str, *, size_bytes: int) -> bool:
        """Publish and count. False: something stood there; the staged file is removed and refunded."""
        charged = self.volume.charge(size_bytes)
        if self.volume.publish(staged, target):
            self.add(charged)
            return True
        self.discard(staged, size_bytes=size_bytes)
        return False

    def discard(self, staged: str, *, size_bytes: int) -> None:
        """Remove a staged file and refund it. A file that is gone was taken by a fence: no refund then."""
        if self.volume.unlink(staged) is not None:
            self.refund(self.volume.charge(size_bytes))

    # -- the end ---------------------------------------------------------------------------------------

    def end(self) -> Outcome:
        """Remove what was left unpublished, ``start`` last, and the folder. GONE: it was taken away.

        Before the settlement, which drops the reservation for what is removed here (I5).
        """
        self.clear(self.folder)
        self.volume.unlink(f"{self.folder}/start")
        return self.volume.remove_folder(self.folder)

    def clear(self, folder: str) -> None:
        """Remove what is in a folder of this operation; ``start`` stays."""
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error, folder) from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                self.clear(entry.path)
                self.volume.remove_folder(entry.path)
            elif folder != self.folder or entry.name != "start":
                self.volume.unlink(entry.path)
