"""A process and its parent: ending together, one line that says how the start went; and its memory."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal

from caskeeper.embedding import REPORT_VARIABLE

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MIB = 1024 * 1024
#: So many new objects before they are looked through for cycles.
_YOUNG_OBJECTS = 20_000

_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Get this signal when the process ``parent`` ends. Called in the child."""
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), number)


def tune_memory() -> None:
    """Buffers of messages come from the heap and stay there, in few arenas.

    By default each large one is mapped and cleared anew (speed.md section 3), and every thread's arena
    keeps what it had at its worst.

    And a job makes tens of thousands of digests that refer to nothing: looked through for cycles after
    every 700 of them, they cost a tenth of it.
    """
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:  # glibc; elsewhere the default is good enough
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)
        mallopt(_M_ARENA_MAX, 4)


class Report:
    """The one line a parent waits for; nothing when nobody does."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd

    @classmethod
    def inherited(cls) -> Report:
        """The one that the environment names; its name is taken out of there."""
        fd = os.environ.pop(REPORT_VARIABLE, None)
        return cls(None if fd is None else int(fd))

    def send(self, document: dict[str, object]) -> None:
        """Once; later ones say nothing. A parent that is gone is no trouble."""
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.write(fd, json.dumps(document).encode() + b"\n")
            except BrokenPipeError:
                return
            finally:
                os.close(fd)
