"""The processes of a history: four workers, two cleaners, a server, a remote and a Redis on one small disk.

Each can be killed, started again, and paused; ``frozen`` stops everything that changes the volume, so that
what is read inside is one moment. All of them end with this process. To be used from the main thread where
it starts something: a child ends with the thread that started it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

from harness.commands import COMMAND, environment, read, until, write_config
from harness.histories_reader import Reader
from harness.impatient import TESTS
from harness.valkey import _END_WITH_PARENT, ValkeyServer

from caskeeper.config import load_settings
from caskeeper.coordination import Coordination

WORKERS, CLEANERS = 4, 2
LEASE_S, GRACE_S = 2.0, 3.0
SERVER, REMOTE = "server", "remote"


class Fleet:
    """By name: ``worker0`` …, ``cleaner0`` …, ``server``, ``remote``; ``valkey`` is the Redis."""

    def __init__(self, folder, disk, *, seed, quota_bytes, journal):
        self.folder, self.seed, self.journal = folder, seed, journal
        self.cachedir = f"{disk}/cache"
        self.guard = threading.RLock()
        self.reader = Reader(self.cachedir)
        self.processes = {}
        self.paused = {}
        self._births = 0
        self._ports = {SERVER: _free_port(), REMOTE: _free_port()}
        self.address = f"127.0.0.1:{self._ports[SERVER]}"
        self.valkey = ValkeyServer(appendonly=True)
        self.valkey.start()
        self.config = write_config(
            f"{folder}/fleet.yaml",
            cachedir=self.cachedir,
            redis=self.valkey.url,
            roots=[folder],
            leases={
                "operation": f"{LEASE_S:g}s",
                "session": f"{LEASE_S:g}s",
                "clock-margin": "0s",
                "upload-grace": f"{GRACE_S:g}s",
            },
            cache={
                "quota": str(quota_bytes),
                "headroom": "0",
                "low-watermark": "60%",
                "reserved-disk-space": "0",
            },
            artifacts=[{"url": f"http://127.0.0.1:{self._ports[REMOTE]}", "push": True}],
        )
        self.settings = load_settings(self.config)
        self._coordination = None

    @property
    def coordination(self):
        """Ours, to look with."""
        if self._coordination is None:
            self._coordination = Coordination.connect(
                self.settings.redis, volume_id=None, leases=self.settings.leases
            )
        return self._coordination

    @property
    def names(self):
        return [
            *(f"worker{number}" for number in range(WORKERS)),
            *(f"cleaner{number}" for number in range(CLEANERS)),
            SERVER,
        ]

    # -- starting and ending --------------------------------------------------------------------------

    def begin(self):
        """Everything runs when this returns."""
        self.start(REMOTE)
        self.start("worker0")  # makes the volume
        self.wait_for("worker0")
        for name in self.names[1:]:
            self.start(name)
        for name in self.names:
            self.wait_for(name)

    def start(self, name):
        """It may not be ready yet."""
        self._births += 1
        harness = (sys.executable, "-P", "-m")
        words = {
            "worker": [*harness, "harness.histories_worker", "--config", self.config, "worker"],
            "cleaner": [
                *(*harness, "harness.histories_cleaner", self.config, self.journal.path, name),
                f"{self.seed} {self._births}",
            ],
            SERVER: [*COMMAND, "--config", self.config, SERVER, "--listen", self.address],
            REMOTE: [*harness, "harness.histories_remote", str(self._ports[REMOTE]), self.seed],
        }[re.sub(r"\d", "", name)]
        with self.guard, open(self.log_of(name), "a", encoding="utf-8") as log:
            self.processes[name] = subprocess.Popen(
                [*_END_WITH_PARENT, *words] if "/" in words[0] else words,
                env=environment(
                    PYTHONPATH=os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]),
                    PYTHONFAULTHANDLER="1",
                ),
                stdin=subprocess.PIPE if name == REMOTE else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def log_of(self, name):
        return f"{self.folder}/{name}.log"

    def wait_for(self, name, *, wait_s=90):
        """Until it says that it serves; cleaners say nothing."""
        words = {"worker": "taking jobs", SERVER: "listening on", REMOTE: "listening"}
        word = words.get(re.sub(r"\d", "", name))
        until(lambda: word is None or word in read(self.log_of(name)), wait_s=wait_s)

    def revive(self):
        """Start what has ended by itself; the exit codes of those by name."""
        ended = {name: process.poll() for name, process in self.processes.items()}
        for name in [name for name, code in ended.items() if code is not None]:
            self.start(name)
        return {name: code for name, code in ended.items() if code is not None}

    def kill(self, name):
        """SIGKILL for a process and its children, at once; it is started again."""
        with self.guard:
            process = self.processes[name]
            for pid in self.family(process.pid):
                _signal(pid, signal.SIGKILL)
            process.wait()
            self.paused.pop(name, None)
            self.start(name)

    def tell_remote(self, how):
        with suppress(OSError):
            pipe = self.processes[REMOTE].stdin
            pipe.write(f"{how}\n")
            pipe.flush()

    def stop(self, *names):
        """SIGTERM, and the exit codes; SIGKILL for what has not ended after half a minute."""
        for name in names:
            self.processes[name].terminate()
        codes = {}
        for name in names:
            process = self.processes.pop(name)
            try:
                codes[name] = process.wait(30)
            except subprocess.TimeoutExpired:
                codes[name] = "killed: it did not end in 30 s, its log says where it was"
                family = self.family(process.pid)
                _signal(process.pid, signal.SIGABRT)  # faulthandler writes the stacks of all its threads
                with suppress(subprocess.TimeoutExpired):
                    process.wait(5)
                for pid in family:
                    _signal(pid, signal.SIGKILL)
                process.wait()
        return codes

    def end(self):
        """Whatever still runs is killed."""
        if self._coordination is not None:
            self._coordination.close()
        for process in self.processes.values():
            for pid in self.family(process.pid):
                _signal(pid, signal.SIGKILL)
            process.wait()
        self.valkey.kill()
        shutil.rmtree(self.valkey.folder)

    # -- pausing --------------------------------------------------------------------------------------

    def pause(self, name, *, pids=None):
        """SIGSTOP, for a whole family or for ``pids`` of it."""
        with self.guard:
            chosen = pids or self.family(self.processes[name].pid)
            for pid in chosen:
                _signal(pid, signal.SIGSTOP)
            self.paused[name] = chosen

    def go_on(self, name):
        with self.guard:
            for pid in self.paused.pop(name, []):
                _signal(pid, signal.SIGCONT)

    def family(self, pid):
        """A process and all below it, parents first; empty when it is gone."""
        parents = _parents()
        if pid not in parents:
            return []
        found = [pid]
        for member in found:
            found += [child for child, parent in parents.items() if parent == member]
        return found

    def children(self, name):
        """Those that do a worker's jobs: before them it forks the process that watches it."""
        return [pid for pid in self.family(self.processes[name].pid)[2:] if not _is_companion(pid)]

    def companions(self):
        """Of all workers' children."""
        pids = [process.pid for name, process in self.processes.items() if name.startswith("worker")]
        return [pid for worker in pids for pid in self.family(worker) if _is_companion(pid)]

    @contextmanager
    def frozen(self):
        """Nobody changes the volume inside; who was paused before stays so."""
        with self.guard:
            asleep = {pid for pids in self.paused.values() for pid in pids}
            stopped = []
            try:
                for name in self.names:
                    process = self.processes.get(name)
                    if process is not None and process.poll() is None:
                        stopped += _stop_family(process.pid)
                yield
            finally:
                for pid in stopped:
                    if pid not in asleep:
                        _signal(pid, signal.SIGCONT)


def reap(mine):
    """Orphans that ended here, where this process is the first of its namespace."""
    for pid, fields in _all():
        if fields[0] == "Z" and int(fields[1]) == os.getpid() and pid not in mine:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _all():
    """(pid, its state, parent and so on) of every process that is there."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            yield int(name), file.read().rpartition(")")[2].split()


def _parents():
    return {pid: int(fields[1]) for pid, fields in _all() if fields[0] != "Z"}


def _stop_family(pid):
    """All stopped for certain: what their threads were doing in the kernel is done, and nobody is born."""
    stopped, left = [], [pid]
    while left:
        for member in left:
            _signal(member, signal.SIGSTOP)
        for member in left:
            _wait_until_still(member)
        stopped += left
        parents = _parents()
        left = [child for child, parent in parents.items() if parent in stopped and child not in stopped]
    return stopped


def _wait_until_still(pid):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            states = [_state(f"/proc/{pid}/task/{thread}/stat") for thread in threads]
        except FileNotFoundError:
            return
        if all(state in "TtZXx" for state in states):
            return
        time.sleep(0.001)
    raise AssertionError(f"process {pid} cannot be stopped")


def _is_companion(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"worker.store.companion" in file.read()
    except OSError:
        return False


def _state(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _signal(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
