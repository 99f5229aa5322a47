"""No Redis configured: join the embedded one of the cachedir, or start it (interface section 1).

What holds it together are file locks in ``<cachedir>/run``, which the kernel drops when a process dies:

- ``clients``: everybody who uses the server holds it shared. The supervisor ends only while it holds it
  alone, so nobody can come in between its last look and its end.
- ``supervisor``: held by the one supervisor that runs. Free means that none runs, whatever files say.

The supervisor is started as a detached process by its command, never imported: a build may have a
``tasks`` module of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from caskeeper.config.fingerprint import fingerprint
from caskeeper.errors import Busy, ConfigInvalid, CoordinatorUnavailable, PermissionDenied, from_json
from caskeeper.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caskeeper.config import Settings

#: How long a start may take: Valkey reads its state, the worker looks at the volume.
START_S = 60.0
#: Names the file descriptor on which a started process says one line: how its start went.
REPORT_VARIABLE = "_CASKEEPER_REPORT_FD"
#: The fingerprint of the settings of whoever started the supervisor: made by hand, they are known to nobody
#: else, and a second one who has the same joins.
ASKED_VARIABLE = "_CASKEEPER_ASKED_FOR"
_REPORT_FD = 3
_LOOK_S = 0.03
#: A job's message is let go of a moment after its result can be had.
_LAST_ACK_S = 1.0
#: No process has a number so high.
_PIDS = 1 << 31
_DOWN_S = 60.0


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
        self.trouble = f"{self.folder}/trouble.json"

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
    """A running embedded server.

    ``settings`` are the fingerprints it serves; ``foreground``: somebody watches it, and ends it himself.
    """

    url: str
    pid: int  # of its supervisor
    settings: frozenset[str] = frozenset()
    foreground: bool = False


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
        url, pid = document["url"], document["pid"]
        # A signal goes to this pid, and 0 or less would be whole groups of processes.
        if type(pid) is not int or not 0 < pid < _PIDS or not isinstance(url, str):
            return None
        if not url.startswith("unix://") or "\0" in url:
            return None
        return Endpoint(
            url,
            pid,
            frozenset(map(str, document.get("settings", ()))),
            bool(document.get("foreground", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def announce(files: RunFiles, endpoint: Endpoint) -> None:
    """Write down where the server is: what ``announced`` reads."""
    staged = f"{files.endpoint}.new"
    with open(staged, "w", encoding="utf-8") as file:
        json.dump({**endpoint._asdict(), "settings": sorted(endpoint.settings)}, file)
    os.replace(staged, files.endpoint)


def end(cachedir: str) -> bool:
    """End the embedded server of a cachedir and wait for its process; jobs stay in its queue.

    False: none was running. Raises Busy when it does not end.
    """
    files = RunFiles(cachedir)
    if not os.path.exists(files.supervisor):
        return False
    process = None
    deadline = time.monotonic() + _DOWN_S
    with FileLock(files.supervisor) as lock:
        while not lock.take(shared=True) or (process is not None and process.lives()):
            # Only while the lock is held is the process with this number a supervisor.
            endpoint = None if process else announced(files)
            if endpoint is not None:
                process = _Process(endpoint.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(endpoint.pid, signal.SIGTERM)
            if time.monotonic() >= deadline:
                raise Busy("the embedded server does not end", files.folder, f"look into {files.log}")
            time.sleep(_LOOK_S)
    return process is not None


class _Process:
    """A process that is no child of ours: whether it still lives, even if its number is given again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._birth = self._look()

    def lives(self) -> bool:
        return self._birth is not None and self._look() == self._birth

    def _look(self) -> str | None:
        """When it was started; None for one that has ended, whether it was waited for or not."""
        try:
            with open(f"/proc/{self._pid}/stat", encoding="utf-8", errors="replace") as file:
                words = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if words[0] in "ZX" else words[19]


def join(settings: Settings, *, say: Callable[[str], None] = lambda _line: None) -> Membership:
    """Join the embedded server of the cachedir; start it when none runs, saying so in one line.

    One that serves another configuration is ended and started anew when nobody uses it, and else joined
    with a line about it. Raises the supervisor's own error when it cannot start, Busy,
    CoordinatorUnavailable.
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
    wanted, changed, looked = fingerprint(settings), "", False
    while True:
        endpoint = running(settings.cachedir)
        if endpoint is not None and wanted not in endpoint.settings and not looked:
            looked = True
            in_use = _in_use(endpoint, lock)
            if in_use:
                say(f"the embedded server still runs with another configuration: {in_use}")
            else:
                end(settings.cachedir)  # nobody can join it meanwhile
                changed = "the configuration has changed: "
            if not lock.take(shared=True, wait_s=START_S):
                raise Busy("the embedded server is just ending", files.folder)
            continue
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
                f"{changed}started an embedded server in the background (process {child}); "
                f"it ends after {settings.embedded.idle_s:g} s without work, or with `caskeeper down`"
            )
            return Membership(str(report["url"]), lock, child)
        _reap(child, os.WEXITED)
        if "error" in report:
            raise from_json(report)
        time.sleep(_LOOK_S)  # somebody else was faster: its server will be there in a moment


def _in_use(endpoint: Endpoint, lock: FileLock) -> str:
    """Why a running server may not be ended, in words; '': nobody uses it or can join it any more.

    ``lock``, held shared, is held alone afterwards, or not at all.
    """
    if endpoint.foreground:
        return "end it where it was started, and start it anew"
    if not lock.take():
        return "others use it; `caskeeper down` ends it"
    from caskeeper.queue import Queue  # noqa: PLC0415 -- half a second that a join need not pay

    queue = Queue(endpoint.url)
    try:
        late = time.monotonic() + _LAST_ACK_S
        while (busy := sum(queue.lengths().values()) + queue.taken()) and time.monotonic() < late:
            time.sleep(_LOOK_S)
    except CoordinatorUnavailable:
        busy = 1  # it is just being started again
    finally:
        queue.close()
    return "it has jobs; `caskeeper down` ends it" if busy else ""


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
    return {
        **environment,
        "CASKEEPER_CACHEDIR": settings.cachedir,
        REPORT_VARIABLE: str(_REPORT_FD),
        ASKED_VARIABLE: fingerprint(settings),
    }


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
    # One that cannot write its file refuses even this, and answers whoever only reads.
    return ping(path).startswith((b"+PONG", b"-MISCONF"))


def ping(path: str) -> bytes:
    """How a Redis on this socket answers; b"": none does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2.0)
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(64)
    except OSError:
        return b""
