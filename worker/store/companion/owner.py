"""The owner's side: starts the companion when it is wanted, and buries it."""

from __future__ import annotations

import logging
import mmap
import os
import socket
import subprocess
import sys
import sysconfig
import threading
from typing import TYPE_CHECKING, Any

from worker.store.companion.line import Line
from worker.store.companion.messages import CompanionLost
from worker.store.companion.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.store.blobs import StoreBlobs
    from worker.store.volume import Volume

log = logging.getLogger(__name__)

#: How long one that was killed may take to end; a dead disk holds it longer, and then it is left to that.
DEATH_S = 10.0
#: For the bytes of one batch.
MEMORY_BYTES = 2 * 1024 * 1024
#: After so many pieces of work another one is started: what might pile up in a process does not.
SESSIONS = 200
#: So many that ended before they ever answered: then this process goes on alone.
IN_VAIN = 3

_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class Companion:
    """At most one process, started when it is first wanted, and for one operation at a time."""

    def __init__(self, volume: Volume) -> None:
        """Starts nothing."""
        self._volume = volume
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._taken = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None
        #: what both processes have, while there is one, and its number in both
        self.memory: mmap.mmap | None = None
        self.memory_fd = -1
        #: has whoever holds it without need let it go; False: it is needed
        self.idle: Callable[[], bool] | None = None
        self._sessions = 0
        self._in_vain = 0
        self._owner = os.getpid()  # last: from here on the lock above is the one that is taken

    def session(self, work: str, blobs: StoreBlobs, **particulars: Any) -> Session:
        """Its use for one piece of work, as a context. It takes it when the first unit goes there."""
        return Session(self, work, blobs, particulars)

    def close(self) -> None:
        """No operation gets it any more. One that has it keeps it; then it ends, else now."""
        self._closed = True
        if self.is_ours() and self._taken.acquire(blocking=False):
            try:
                self.bury()
            finally:
                self._taken.release()

    # -- for sessions ----------------------------------------------------------------------------------

    def is_ours(self) -> bool:
        """False after a fork: it is the companion of the process that this one comes from."""
        return self._owner == os.getpid()

    def take(self) -> bool:
        """False: another operation has it, there is no second core, or it was tried in vain."""
        if not self.is_ours():
            self._forget()
        if self._closed or self._in_vain >= IN_VAIN or len(os.sched_getaffinity(0)) < 2:
            return False
        if self._taken.acquire(blocking=False):
            return True
        idle = self.idle
        return idle is not None and idle() and self._taken.acquire(blocking=False)

    def give_back(self, *, lost: bool, heard: bool) -> bool:
        """For the next operation. ``lost``: it ends here; ``heard``: it had answered before.

        False: it should have ended, and a dead disk still holds it.
        """
        has_ended = True
        try:
            self._in_vain = 0 if heard or not lost else self._in_vain + 1
            self._sessions += 1
            if lost or self._sessions >= SESSIONS:
                has_ended = self.bury()
        finally:
            self._taken.release()
            if self._closed:
                self.close()
        return has_ended

    @property
    def is_running(self) -> bool:
        """Whether it has been started."""
        return self._line is not None

    def line(self) -> Line:
        """To the running process, which is started first. CompanionLost."""
        if self._process is not None and self._process.poll() is not None:
            self.bury()  # killed while nobody wanted it
        if self._line is None:
            try:
                self._line = self._start()
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError, AttributeError) as error:
                # AttributeError: a Python that was built where there is no `memfd_create`
                raise CompanionLost(f"it cannot be started: {error}") from error
        return self._line

    def _start(self) -> Line:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.memory_fd = os.memfd_create("companion")
                os.ftruncate(self.memory_fd, MEMORY_BYTES)
                self.memory = mmap.mmap(self.memory_fd, MEMORY_BYTES)
                self._process = subprocess.Popen(
                    [*_interpreter(), "worker.store.companion", str(theirs.fileno()), str(self._owner)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # what the owner's is read to its end by somebody
                    env=_environment(),
                    pass_fds=(theirs.fileno(), self.memory_fd),
                    start_new_session=True,  # Ctrl-C is for its owner, which lets it finish
                )
        except BaseException:
            ours.close()
            self._let_go_of_memory()
            raise
        self._sessions = 0
        return Line(ours)

    def busy_ticks(self) -> int | None:
        """The processor time it has used; None: it waits for a disk, or it cannot be said."""
        try:
            with open(f"/proc/{self._process.pid if self._process else 0}/stat", encoding="ascii") as file:
                state, *fields = file.read().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            return None
        return None if state == "D" else int(fields[10]) + int(fields[11])

    def bury(self) -> bool:
        """See it end, whatever it does; afterwards it changes nothing any more. False: it was not seen."""
        process, self._process = self._process, None
        line, self._line = self._line, None
        if line is not None:
            line.close()
        self._let_go_of_memory()
        if process is not None:
            process.kill()
            try:
                process.wait(timeout=DEATH_S)
            except subprocess.TimeoutExpired:
                return False
        return True

    def _let_go_of_memory(self) -> None:
        """Also in the other process it is never filled again: who is slow to end publishes nothing else."""
        if self.memory_fd >= 0:
            os.close(self.memory_fd)
        self.memory, self.memory_fd = None, -1

    def _forget(self) -> None:
        """What a fork has brought: it goes on with the process that it belongs to."""
        if self._line is not None:
            self._line.close()
        self._let_go_of_memory()
        if self._process is not None:
            self._process.returncode = 0  # nobody's child here
        self._begin_anew()


def _interpreter() -> list[str]:
    """Raises CompanionLost for a program that has an interpreter in it and is none."""
    program = sys.executable or ""
    if not os.path.basename(program).startswith(("python", "pypy")):
        raise CompanionLost(f"{program!r} is no Python interpreter")
    return [program, "-P", "-m"]


def _environment() -> dict[str, str]:
    """In which this package is found; before the standard library only where nobody else has put anything."""
    environment = {**os.environ}
    if _PACKAGES not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        others = filter(None, [environment.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join([_PACKAGES, *others])
    return environment
