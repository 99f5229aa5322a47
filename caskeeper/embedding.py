"""No Redis configured: join the embedded one of the cachedir, or start it (interface section 1).

What holds it together are file locks in ``<cachedir>/run``, which the kernel drops when a process dies:

- ``clients``: everybody who uses the server holds it shared. The supervisor ends only while it holds it
  alone, so nobody can come in between its last look and its end.
- ``supervisor``: held by the one supervisor that runs. Free means that none runs, whatever files say.

The supervisor is started as a detached process by its command, never imported: a build may have a
``tasks`` module of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from caskeeper.errors import Busy, ConfigInvalid, CoordinatorUnavailable, PermissionDenied, from_json
from caskeeper.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caskeeper.config import Settings

#: How long a start may take: Valkey reads its state, the worker looks at the volume.
START_S = 60.0
#: Names the file descriptor on which a started process says one line: how its start went.
REPORT_VARIABLE = "_CASKEEPER_REPORT_FD"
_REPORT_FD = 3
_LOOK_S = 0.03


class RunFiles:
    """The files of the embedded server of one cachedir."""

    def __init__(self, cachedir: str) -> None:
        self.folder = Layout(cachedir).run
        self.clients = f"{self.folder}/clients.lock"
        self.supervisor = f"{self.folder}/supervisor.lock"
        self.server = f"{self.folder}/server.lock"
        self.endpoint = f"{self.folder}/endpoint.json"
        self.mark = f"{self.folder}/clean-stop.json"
        self.log = f"{self.folder}/embedded.log"
        self.socket = f"{self.folder}/valkey.sock"

    def make(self) -> None:
        """The folder, for its owner only. Raises PermissionDenied, ConfigInvalid."""
        try:
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
        except PermissionError as refused:
            raise PermissionDenied("the cache folder cannot be used", str(refused.filename)) from refused
        except OSError as trouble:
            raise ConfigInvalid(
                f"the cache folder cannot be made: {trouble.strerror}", self.folder, "correct `cachedir`"
            ) from trouble


class Endpoint(NamedTuple):
    """A running embedded server."""

    url: str
    pid: int  # of its supervisor


class FileLock:
    """An advisory lock on a file of its own; ends with ``close`` or with the process."""

    def __init__(self, path: str) -> None:
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as trouble:
            raise PermissionDenied(trouble.strerror or str(trouble), path) from trouble

    def take(self, *, shared: bool = False, wait_s: float = 0.0) -> bool:
        """False: somebody else holds it, and did so for ``wait_s``."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOOK_S)
            else:
                return True

    def release(self) -> None:
        """Let go, keep the file open."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go. Twice is as once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Membership:
    """The right to find the embedded server running, until ``close``."""

    url: str
    lock: FileLock
    child: int | None = None  # the supervisor, when this process started it

    def close(self) -> None:
        """The server may end now."""
        self.lock.close()
        child, self.child = self.child, None
        if child is not None:
            _reap(child, os.WEXITED | os.WNOHANG)


def running(cachedir: str) -> Endpoint | None:
    """The embedded server of a cachedir that answers now; None when there is none."""
    files = RunFiles(cachedir)
    if not os.path.exists(files.supervisor):
        return None
    with FileLock(files.supervisor) as lock:
        if lock.take(shared=True):
            return None
    endpoint = announced(files)
    return endpoint if endpoint is not None and answers(socket_of(endpoint.url)) else None


def announced(files: RunFiles) -> Endpoint | None:
    """What a supervisor wrote down. True only while one holds its lock; None while it starts or ends."""
    try:
        with open(files.endpoint, encoding="utf-8") as file:
            document = json.load(file)
        return Endpoint(str(document["url"]), int(document["pid"]))
    except (OSError, ValueError, KeyError):
        return None


def join(settings: Settings, *, say: Callable[[str], None] = lambda _line: None) -> Membership:
    """Join the embedded server of the cachedir; start it when none runs, saying so in one line.

    Raises the supervisor's own error when it cannot start, Busy, CoordinatorUnavailable.
    """
    files = RunFiles(settings.cachedir)
    files.make()
    lock = FileLock(files.clients)
    try:
        return _joined(settings, files, lock, say)
    except BaseException:
        lock.close()
        raise


def _joined(settings: Settings, files: RunFiles, lock: FileLock, say: Callable[[str], None]) -> Membership:
    # Only a supervisor that ends holds it alone, and then not for long.
    if not lock.take(shared=True, wait_s=START_S):
        raise Busy("the embedded server is just ending", files.folder)
    deadline = time.monotonic() + START_S
    while True:
        endpoint = running(settings.cachedir)
        if endpoint is not None:
            return Membership(endpoint.url, lock)
        if time.monotonic() >= deadline:
            raise CoordinatorUnavailable(
                f"the embedded server did not start within {START_S:g} s",
                files.folder,
                f"look into {files.log}",
            )
        child, report = _start(settings, files)
        if "url" in report:
            say(
                f"started an embedded server in the background (process {child}); "
                f"it ends after {settings.embedded.idle_s:g} s without work, or with `caskeeper down`"
            )
            return Membership(str(report["url"]), lock, child)
        _reap(child, os.WEXITED)
        if "error" in report:
            raise from_json(report)
        time.sleep(_LOOK_S)  # somebody else was faster: its server will be there in a moment


def _start(settings: Settings, files: RunFiles) -> tuple[int, dict[str, Any]]:
    """Start a supervisor and hear its one line: ``url``, ``other`` (one runs already) or an error."""
    command = own_command(settings, "supervise")
    ours, theirs = os.pipe()
    with open(ours, encoding="utf-8") as pipe:
        try:
            child = os.posix_spawn(
                sys.executable,
                command,
                _environment(settings),
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_DUP2, theirs, _REPORT_FD),
                ],
            )
        except OSError as trouble:
            raise PermissionDenied(f"no process could be started: {trouble.strerror}", files.log) from trouble
        finally:
            os.close(theirs)
        line = pipe.readline()
    if not line:
        _reap(child, os.WEXITED)
        raise CoordinatorUnavailable(
            "the embedded server could not be started", files.folder, f"look into {files.log}"
        )
    report: dict[str, Any] = json.loads(line)
    return child, report


def own_command(settings: Settings, *words: str) -> list[str]:
    """The command line of this application with the same configuration file.

    ``-P`` and ``-m``: no file of the current folder can take the place of a module of ours.
    """
    config = ["--config", settings.source] if settings.source else []
    return [sys.executable, "-P", "-m", "tasks.cli.main", *config, *words]


def _environment(settings: Settings) -> Mapping[str, str]:
    """The supervisor's environment: the same configuration, whatever this process changed of it."""
    environment = {name: value for name, value in os.environ.items() if name != "CASKEEPER_REDIS_URL"}
    return {**environment, "CASKEEPER_CACHEDIR": settings.cachedir, REPORT_VARIABLE: str(_REPORT_FD)}


def _reap(child: int, options: int) -> None:
    """A started supervisor that has ended leaves no zombie; a running one runs on."""
    try:
        os.waitid(os.P_PID, child, options)
    except ChildProcessError:
        return


def socket_of(url: str) -> str:
    """The path of a unix socket's URL."""
    return url.partition("://")[2].partition("?")[0]


def answers(path: str) -> bool:
    """Whether a Redis listens on this socket and is ready."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False
