"""The embedded fleet of one cachedir: Valkey, workers, and what else is added, as children of one process.

In the background it ends when it is idle, in the foreground (``up``, ``demo``) when it is told to; either
way in order: workers put their jobs back, then the server saves and stops, and nothing is left running.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, Self

from caskeeper.config.fingerprint import fingerprint
from caskeeper.embedding import (
    ASKED_VARIABLE,
    Endpoint,
    FileLock,
    RunFiles,
    announce,
    own_command,
)
from caskeeper.errors import Busy, CaskeeperError, CoordinatorUnavailable
from caskeeper.queue import Queue
from caskeeper.trouble import Trouble
from tasks.children import Child
from tasks.embedded import EmbeddedServer
from tasks.process import Report
from worker.telemetry.log import Log, configure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from caskeeper.config import Settings

log = Log("caskeeper.supervisor")

_LOOK_S = 0.25
#: How often the server is asked whether it takes writes.
_PING_S = 1.0
_LOG_LIMIT_BYTES = 1024 * 1024
#: One configuration is for all of its workers: they cannot all answer at one address.
_QUIET = ("--metrics", "none")


class Fleet:
    """``with Fleet(settings, workers=2) as fleet``: everything runs inside, nothing after.

    Others join it as they join a background one. Raises Busy when one runs for this cachedir already, and
    the workers' own errors. ``asked_for``: it was started in the background, for settings with this
    fingerprint; whoever has others may end it when nobody uses it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int = 1,
        concurrency: int | None = None,
        asked_for: str | None = None,
    ) -> None:
        self.settings = settings
        self._asked_for = asked_for
        self.files = RunFiles(settings.cachedir)
        self._workers = workers
        self._concurrency = concurrency or max(2, min(4, os.cpu_count() or 2))
        self._lock: FileLock | None = None
        self._server: EmbeddedServer | None = None
        self._children: list[Child] = []
        self._trouble: Trouble | None = None
        self._pinged, self._refusal = 0.0, ""

    @property
    def server(self) -> EmbeddedServer:
        """The embedded server."""
        assert self._server is not None, "the fleet has not been started"
        return self._server

    @property
    def url(self) -> str:
        """The Redis of this fleet."""
        return self.server.url

    def processes(self) -> list[tuple[str, int]]:
        """Name and pid of every child that runs."""
        found: list[tuple[str, int | None]] = [("valkey", self.server.pid)]
        found += [(child.name, child.pid) for child in self._children]
        return [(name, pid) for name, pid in found if pid is not None]

    def start(self, *, wait_s: float = 0.0) -> Self:
        """Everything answers when this returns; when it raises, nothing runs."""
        self.files.make()
        self._lock = FileLock(self.files.supervisor)
        if not self._lock.take(wait_s=wait_s):
            self._lock.close()
            raise Busy(
                "an embedded server runs already for this cachedir",
                self.settings.cachedir,
                "use it, or end it with `caskeeper down`",
            )
        try:
            _remove(self.files.endpoint)
            self._trouble = Trouble(self.files)
            self._server = EmbeddedServer(self.files, self.settings.leases)
            self._server.start()
            self._make_scratch()
            workers = [
                self._child(f"worker {n + 1}", "worker", "--concurrency", str(self._concurrency), *_QUIET)
                for n in range(self._workers)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.wait_until_ready()
            self._announce()
        except BaseException:
            self.stop()
            raise
        return self

    def add(self, name: str, *words: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start another command of ours beside the workers, such as ``server --listen …``."""
        child = self._child(name, *words, environment=environment)
        child.start()
        return child

    def watch(self) -> None:
        """One look: what has died is started again. Call it a few times a second."""
        if self.server.pid is None:
            log.warning("server ended, started again")
            self.server.start()
        for child in self._children:
            child.watch()
        troubles = [f"{one.name}: {one.trouble}" for one in self._children if one.trouble]
        if self._trouble is not None:
            self._trouble.tell("; ".join([*self._refusals(), *troubles]))

    def _refusals(self) -> list[str]:
        """Whether the server takes writes: asked about once a second, told until it does."""
        if time.monotonic() - self._pinged >= _PING_S:
            self._pinged = time.monotonic()
            self._refusal = self.server.refusal()
        return [self._refusal] if self._refusal else []

    def stop(self) -> None:
        """End everything, in order. Twice is as once."""
        _remove(self.files.endpoint)
        for child in self._children:
            child.ask_to_stop()
        for child in reversed(self._children):
            child.stop()
        self._children.clear()
        if self._server is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._server.stop()
            self._server.close()
            self._server = None
        if self._trouble is not None:
            self._trouble.close()
            self._trouble = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _child(self, name: str, *words: str, environment: Mapping[str, str] | None = None) -> Child:
        fixed = {
            **os.environ,
            "CASKEEPER_CACHEDIR": self.settings.cachedir,
            "CASKEEPER_REDIS_URL": self.url,
            "TMPDIR": self._scratch,
            # Whoever reaches the private socket is this user; the client checks against its current folder.
            "CASKEEPER_ROOTS": "/",
        }
        child = Child(name, own_command(self.settings, *words), {**fixed, **(environment or {})})
        self._children.append(child)
        return child

    @property
    def _scratch(self) -> str:
        """Where children have their temporary files: a killed one cannot clear up after itself."""
        return os.path.join(os.path.dirname(self.server.socket), "scratch")

    def _make_scratch(self) -> None:
        """Empty, whatever an earlier fleet has left there."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)

    def _announce(self) -> None:
        served = {fingerprint(self.settings), self._asked_for or ""} - {""}
        foreground = self._asked_for is None
        announce(self.files, Endpoint(self.url, os.getpid(), frozenset(served), foreground))


class Idleness:
    """Nobody uses the server, and nothing waits or runs in it."""

    def __init__(self, files: RunFiles, url: str, idle_s: float) -> None:
        self._clients = FileLock(files.clients)
        self._queue = Queue(url)
        self._idle_s = idle_s
        self._since = time.monotonic()

    def over(self) -> bool:
        """Whether that has been so for long enough. Then nobody can join any more, until ``close``."""
        if not self._clients.take():
            self._since = time.monotonic()
            return False
        try:
            waiting = sum(self._queue.lengths().values()) + self._queue.taken()
        except CoordinatorUnavailable:
            waiting = 1  # it is just being started again
        if waiting:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= self._idle_s:
            return True
        self._clients.release()
        return False

    def close(self) -> None:
        """Others may join what is started next."""
        self._queue.close()
        self._clients.close()


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP end the loop instead of the process."""

    def __init__(self) -> None:
        self.number = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        self.number = number

    def __bool__(self) -> bool:
        return self.number != 0


def supervise(settings: Settings) -> int:
    """The background supervisor: until it is idle, or told to end. Reports to whoever started it."""
    report = Report.inherited()
    configure(settings.log.level, settings.log.format)
    stop = StopSignals()
    fleet = Fleet(settings, asked_for=os.environ.pop(ASKED_VARIABLE, ""))
    try:
        # A look of somebody else's at the lock takes it for a moment.
        fleet.start(wait_s=0.5)
    except Busy as other:
        report.send({"other": str(other)})
        return 0
    except CaskeeperError as error:
        report.send(error.to_json())
        return error.exit_code
    _shorten(fleet.files.log)
    idleness = Idleness(fleet.files, fleet.url, settings.embedded.idle_s)
    report.send({"url": fleet.url, "pid": os.getpid()})
    try:
        _until(fleet, stop, idleness)
    finally:
        fleet.stop()
        idleness.close()
    return 0


def stay_up(fleet: Fleet) -> int:
    """Watch a started fleet in the foreground until a signal; answers its number."""
    stop = StopSignals()
    _until(fleet, stop, None)
    return stop.number


def _until(fleet: Fleet, stop: StopSignals, idleness: Idleness | None) -> None:
    looked = time.monotonic()
    while not stop:
        time.sleep(_LOOK_S)
        try:
            fleet.watch()
        except CaskeeperError as trouble:  # the server could not be started again: the next look tries
            log.warning("server not started", error=trouble)
        if idleness is not None and time.monotonic() - looked >= 1.0:
            looked = time.monotonic()
            if idleness.over():
                log.info("idle, ending")
                return


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _shorten(path: str) -> None:
    """The log of earlier runs goes when it has grown long."""
    if os.path.exists(path) and os.path.getsize(path) > _LOG_LIMIT_BYTES:
        os.truncate(path, 0)
