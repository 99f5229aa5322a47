"""Why the embedded workers of a cachedir cannot start, from their supervisor to whoever waits for them."""

from __future__ import annotations

import contextlib
import json
import os

from caskeeper.embedding import RunFiles

_TROUBLE_BYTES = 8192


class Trouble:
    """What a supervisor's children cannot start for, told to whoever waits for them.

    Its file has its room from the beginning: on a full disk it can still be written.
    """

    def __init__(self, files: RunFiles) -> None:
        self._path = files.trouble
        self._told = ""
        with contextlib.suppress(OSError), open(self._path, "wb") as file:
            file.write(bytes(_TROUBLE_BYTES))

    def tell(self, sentence: str) -> None:
        """Instead of what was told before; "": all is well. Nothing fails when it cannot be told."""
        if sentence != self._told:
            self._told = sentence
            data = json.dumps(sentence[: _TROUBLE_BYTES // 12]).encode().ljust(_TROUBLE_BYTES, b"\0")
            with contextlib.suppress(OSError), open(self._path, "r+b") as file:
                file.write(data)

    def close(self) -> None:
        """There is no supervisor any more."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)


def trouble_of(cachedir: str) -> str:
    """Why the embedded workers of a cachedir cannot start; "": nothing is known against them."""
    try:
        with open(RunFiles(cachedir).trouble, "rb") as file:
            told = json.loads(file.read(_TROUBLE_BYTES).rstrip(b"\0") or b'""')
    except (OSError, ValueError, RecursionError):
        return ""
    return told if isinstance(told, str) else ""
