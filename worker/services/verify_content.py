"""Looking at stored bytes for `verify`: nothing is made young by it, and no lease is held.

An object is never changed under its name, so a look at an inode whose bytes are wrong needs no second one;
whether it still stands at its place is for the repair to see.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.digest import Hasher
from worker.protocols import CHUNK_BYTES
from worker.store.failures import failure
from worker.store.format import without_age
from worker.store.system_calls import MTIME_S

if TYPE_CHECKING:
    from worker.protocols import Context

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would have us wait for its writer
_MTIME_NS = MTIME_S * 1_000_000_000
_DAY_S = 86400.0
#: Each day's sample begins so much of itself after the last one: the two overlap, and nothing is left out.
_ADVANCE = 0.8


class Sample(NamedTuple):
    """A share of all hashes, from ``start`` on around the circle of them.

    Hashes are as good as random, so it is a random share of the objects; and it moves on with the days, so
    that a daily look at N percent has hashed everything after 125/N days (docs/decisions/0013).
    """

    share: float
    start: float

    @classmethod
    def of(cls, percent: float | None, *, now_s: float | None = None) -> Sample:
        """The sample of this moment; None = everything."""
        if percent is None or percent >= 100:
            return cls(1.0, 0.0)
        days = (time.time() if now_s is None else now_s) / _DAY_S
        return cls(percent / 100, days * percent / 100 * _ADVANCE % 1.0)

    def has(self, hash_hex: str) -> bool:
        """Whether it is one of them."""
        return self.share >= 1 or (int(hash_hex[:8], 16) / 2**32 - self.start) % 1.0 < self.share


#: No object at all.
NOTHING = Sample(0.0, 0.0)


class Stored(NamedTuple):
    """What stands at an object's place. ``right``: None = it could not be read, for ``trouble``."""

    status: os.stat_result
    right: bool | None
    trouble: str = ""


@dataclass
class Reader:
    """Hashes files, and counts what it did."""

    context: Context
    objects: int = 0
    hashed_objects: int = 0
    hashed_bytes: int = 0
    phase: str = "looking"

    def step(self) -> None:
        """Between two things: stop when asked to, and say how far it is."""
        self.context.check()
        self.context.progress(
            Progress(phase=self.phase, done_objects=self.objects, done_bytes=self.hashed_bytes)
        )

    def hash(self, path: str, hash_hex: str) -> Stored | None:
        """Read it whole. None = it is gone. A disk that cannot read it has lost it: not right (I10)."""
        try:
            fd = without_age(path, _FILE)
        except FileNotFoundError:
            return None
        except PermissionError as error:  # its mode keeps us out, and is a finding of its own
            there = look(path)
            return None if there is None else Stored(there, None, error.strerror or str(error))
        except OSError as error:
            raise failure(error, path) from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return Stored(status, None, "it is no file")
            try:
                found = self._hash(fd)
            except OSError as error:
                return Stored(status, right=False, trouble=f"it cannot be read: {error.strerror or error}")
            self.hashed_objects += 1
            right = found == hash_hex
            return Stored(status, right, "" if right else f"its {status.st_size} bytes hash to {found}")
        finally:
            os.close(fd)

    def _hash(self, fd: int) -> str:
        hasher = Hasher()
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        while count := os.readv(fd, [buffer]):
            hasher.update(view[:count])
            self.hashed_bytes += count
            self.step()
        return hasher.hexdigest()


def look(path: str) -> os.stat_result | None:
    """What stands there itself; None = nothing. Raises VolumeFailed."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise failure(error, path) from error


def has_time(status: os.stat_result) -> bool:
    """Whether its modification time is the constant one (safety.md section 2)."""
    return status.st_mtime_ns == _MTIME_NS


def entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing when it is gone. Raises VolumeFailed."""
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise failure(error, folder) from error
