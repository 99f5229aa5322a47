"""Standard output that cannot be written: a sentence and an exit code, and not a fault of ours."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError, NoSpace

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT = 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Unwritable(BaseException):
    """Nobody gets the outcome. No Exception: it must not be taken for the failure of one artifact."""

    def __init__(self, trouble: OSError) -> None:
        super().__init__(trouble)
        self.exit_code = (NoSpace if trouble.errno in _FULL else CaskeeperError).exit_code
        self.sentence = f"standard output cannot be written: {trouble.strerror}"


class _Output(io.FileIO):
    """Standard output; a closed pipe stays BrokenPipeError. Raises Unwritable."""

    def write(self, piece: ReadableBuffer, /) -> int:
        try:
            return super().write(piece)
        except BrokenPipeError:
            raise
        except OSError as trouble:
            discard()
            raise Unwritable(trouble) from trouble


def prepare() -> None:
    """Make ``sys.stdout`` say what is wrong with it, and print a path as the bytes it is."""
    if sys.stdout is None:  # closed: what is opened next must not get its number, and our output
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDOUT)
    elif not isinstance(sys.stdout, io.TextIOWrapper):
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(_STDOUT, "w", closefd=False)),
        encoding=getattr(sys.stdout, "encoding", "utf-8"),
        errors="surrogateescape",
        line_buffering=os.isatty(_STDOUT),
    )


def discard() -> None:
    """Nobody reads any more: what is still to be written, also by the interpreter's last flush, goes away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
