"""What this user's processes remember of a Redis that did not answer, so that a build pays for it once.

A build may be a hundred commands, each of which would wait for the same dead Redis. The first one waits, in
case it is only being restarted. For a while after that the others try once where a try costs nothing (it
refuses connections), and do not ask at all where it does (it is silent). The memory is one small file a
Redis; where it cannot be written each process has its own. Workers take no part: they have to come back.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from typing import NamedTuple

from caskeeper.errors import CaskeeperError, CoordinatorUnavailable, PermissionDenied

#: How long one process' word counts.
MEMORY_S = 30.0
#: How long anybody waits for an answer: the first time, and again within some minutes.
PATIENCE_S, SHORT_PATIENCE_S = 3.0, 0.5
_CALM_S = 600.0

#: How long those who wait for the end of a job bear with a Redis that has gone away: it may be restarted. And
#: those who can go on without: as long as one answer may take.
WAITING_S, HURRY_S = 60.0, 3.5
#: Who waits asks more often than this.
_GAP_S = 10.0

_SILENT, _REFUSES = b"silent\n", b"refuses\n"


class _Word(NamedTuple):
    age_s: float
    silent: bool


class Silence:
    """One Redis that has gone away under those who wait, as all the jobs of a process see it.

    They are often waited for one after the other: what was waited for one of them was waited for all, and
    for a while after that a Redis that is silent is not even asked.
    """

    def __init__(self, url: str, where: str) -> None:
        self._url, self._where = url, where
        self._since = self._last = 0.0
        self._borne = False

    def refuse(self) -> None:
        """Raises CoordinatorUnavailable, ``settled``, as long as asking would only mean to wait again."""
        if self._borne:
            try:
                refuse(self._url, self._where)
            except CoordinatorUnavailable as gone:
                gone.settled = True
                raise

    def goes_on(
        self, gone: CoordinatorUnavailable, *, silent: bool, began: float, bears_s: float
    ) -> CoordinatorUnavailable:
        """Asked at ``began`` (monotonic) it did not answer; ``silent``: it did not even refuse.

        ``gone`` is ``settled`` when that has lasted for longer than this caller bears, or anybody before.
        """
        now = time.monotonic()
        if began - self._last > _GAP_S:  # nobody has asked meanwhile: nothing is known of that time
            self._since = began
        self._last = now
        lasted_s = now - self._since
        if lasted_s > WAITING_S and not self._borne:
            self._borne = True
            failed(self._url, silent=silent)
        gone.settled = self._borne or lasted_s > bears_s
        return gone

    def is_over(self) -> None:
        """It answers."""
        if self._last:
            over(self._url)
        self._last, self._borne = 0.0, False


#: What this process found itself: by url, when (monotonic), and whether it was silent.
_found: dict[str, tuple[float, bool]] = {}


def patience_s(url: str, most_s: float = PATIENCE_S) -> float:
    """How long it is worth waiting for the Redis of ``url``: not at all when somebody did a moment ago."""
    word = _word(url)
    if word is None or word.age_s > _CALM_S:
        return min(most_s, PATIENCE_S)
    return 0.0 if word.age_s < MEMORY_S else min(most_s, SHORT_PATIENCE_S)


def refuse(url: str, where: str) -> None:
    """Raises CoordinatorUnavailable when it was silent a moment ago: to ask it would be to wait.

    Later it is knocked at first, so that one that is still silent costs little.
    """
    word = _word(url)
    if word is None or not word.silent or word.age_s > _CALM_S:
        return
    if word.age_s >= MEMORY_S:
        if _answers(url):
            return
        failed(url, silent=True)
        word = word._replace(age_s=0.0)
    left_s = MEMORY_S - word.age_s
    raise CoordinatorUnavailable(f"Redis did not answer; not asked again for {left_s:.0f} s", where)


def failed(url: str, *, silent: bool) -> None:
    """It was waited for in vain; ``silent``: it did not even refuse."""
    word = _word(url)
    if word is not None and word.age_s < MEMORY_S and word.silent >= silent:
        return  # said already: when that is over it is tried again
    _found[url] = (time.monotonic(), silent)
    path = _path(url)
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        staged = f"{path}.{os.getpid()}"
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(_SILENT if silent else _REFUSES)
        os.replace(staged, path)


def over(url: str) -> None:
    """It answers."""
    if _word(url) is not None:
        _found.pop(url, None)
        with suppress(OSError):
            os.unlink(_path(url))


def is_silence(trouble: BaseException | None) -> bool:
    """Whether nobody answered, in contrast to somebody who refused."""
    while trouble is not None:
        if type(trouble).__name__ == "TimeoutError":  # Python's, or that of the library of Redis
            return True
        trouble = trouble.__cause__ or trouble.__context__
    return False


def _answers(url: str) -> bool:
    """Whether there is somebody, within a moment."""
    from caskeeper.coordination.connection import Connection  # noqa: PLC0415 -- seldom, and takes its time

    connection = Connection(url, timeout_s=SHORT_PATIENCE_S)
    try:
        connection.command("PING")
    except PermissionDenied:
        return True
    except CaskeeperError as gone:
        return not is_silence(gone)  # one that refuses is tried
    finally:
        connection.close()
    return True


def _word(url: str) -> _Word | None:
    """The latest that is known here of it."""
    own = _found.get(url)
    if own is not None:
        return _Word(time.monotonic() - own[0], own[1])
    try:
        file = os.open(_path(url), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mark = os.fstat(file)
        if not stat.S_ISREG(mark.st_mode) or mark.st_uid != os.getuid():
            return None
        age_s = time.time() - mark.st_mtime
        return _Word(age_s, os.read(file, 32) == _SILENT) if age_s >= 0 else None
    except OSError:
        return None
    finally:
        os.close(file)


def _path(url: str) -> str:
    """A name that gives no password away, in a folder of this user's own."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    place = hashlib.sha256(url.encode()).hexdigest()[:16]
    return os.path.join(folder, f"caskeeper-{os.getuid()}", f"redis-{place}.out")
