"""A new file that arrives in pieces: the part of the volume that lasts longer than one call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from worker.store.failures import failure

if TYPE_CHECKING:
    from worker.store.volume import Volume


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte, however many calls that takes. Raises OSError."""
    written = os.write(fd, data)
    if written == len(data):
        return
    rest = memoryview(data)
    while written < len(rest):
        written += os.write(fd, rest[written:])


class StagedFile:
    """A new file that arrives in pieces; gone again unless ``finish`` is reached."""

    def __init__(self, volume: Volume, path: str, fd: int, mode: int) -> None:
        self.path = path
        self.size_bytes = 0
        self._volume = volume
        self._fd = fd
        self._mode = mode
        self._is_removed = False

    def write(self, chunk: bytes | memoryview) -> None:
        """Append ``chunk``. After a failure the file is gone (NoSpace, VolumeFailed)."""
        try:
            self._volume._change("write", self.path)  # noqa: SLF001 -- a part of the volume
            write_all(self._fd, chunk)
        except OSError as error:
            self.discard()
            raise failure(error, self.path) from error
        self.size_bytes += len(chunk)

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace bytes that are there: its length stays. NoSpace, VolumeFailed.

        Also after it was published, as long as it was not finished: the name may be gone, the file is not.
        """
        try:
            self._volume._change("overwrite", self.path)  # noqa: SLF001 -- a part of the volume
            written = os.pwrite(self._fd, data, offset)
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], offset + written)
        except OSError as error:
            raise failure(error, self.path) from error

    def finish(self) -> int:
        """Mode and times as published; the file is complete. Answers its size in bytes."""
        try:
            self._volume._finish(self._fd, self.path, self._mode)  # noqa: SLF001 -- a part of the volume
        except OSError as error:
            self.discard()
            raise failure(error, self.path) from error
        self.close()
        return self.size_bytes

    def discard(self) -> bool:
        """Remove it, whatever state it is in. False: it was gone, so what it takes is elsewhere now."""
        self.close()
        if self._volume.unlink(self.path) is not None:
            self._is_removed = True
        return self._is_removed  # also by a write that failed

    def close(self) -> None:
        """Leave it as it is. VolumeFailed: what was written may not have arrived."""
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                os.close(fd)
        except OSError as error:
            raise failure(error, self.path) from error
