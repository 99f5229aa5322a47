"""The demo's processes: `up` with two workers, and a server with a volume of its own. All end with us."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caskeeper.config import load_settings
from caskeeper.embedding import running
from caskeeper.errors import CoordinatorUnavailable
from tasks.process import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config import Settings

#: How long a part may take to start, and how long to end before it is killed.
START_S = 60.0
END_S = 20.0
WORKERS = 2
_PR_SET_CHILD_SUBREAPER = 36
_SHORT = "/tmp"  # noqa: S108 -- only to make a new folder of our own in it


@dataclass
class Part:
    """A child process in a process group of its own, so that Ctrl-C reaches us first."""

    name: str
    process: subprocess.Popen[str]
    log: str

    def ended(self) -> bool:
        """Whether it has ended, which none should while the demo runs."""
        return self.process.poll() is not None

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Without waiting."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def wait(self) -> None:
        """Until it has ended; for good when it takes too long."""
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Fleet:
    """A cache with a quota, its workers, and a server; in ``folder``, which the caller removes."""

    def __init__(self, folder: str, *, quota_bytes: int) -> None:
        self.folder = folder
        self._quota_bytes = quota_bytes
        self._cachedir = f"{folder}/cache"
        self._runtime = ""
        self._parts: list[Part] = []
        self.settings: Settings
        self.remote = ""  # the server, as a request names it
        self.clean = True  # after the end: whether every process is gone

    def start(self) -> None:
        """Everything runs when this returns; ``stop`` it also when this raises."""
        _adopt_orphans()
        # The one thing outside of the folder: a socket needs a short path.
        base = tempfile.gettempdir()
        self._runtime = tempfile.mkdtemp(prefix="ck-", dir=base if len(base) < 32 else _SHORT)
        cache = {"quota": str(self._quota_bytes), "headroom": "0", "reserved-disk-space": "0"}
        fleet = self._configure("fleet", cachedir=self._cachedir, roots=[self.folder], cache=cache)
        self.settings = load_settings(fleet, environ=_environment())
        self._run("fleet", fleet, "up", "--workers", str(WORKERS))
        url = self._wait_for_redis()
        # A database of its own: one belongs to one volume.
        server = self._configure(
            "server",
            cachedir=f"{self.folder}/server",
            redis=f"{url}{'&' if '?' in url else '?'}db=1",
            cache={"reserved-disk-space": "0"},
        )
        part = self._run("server", server, "--json", "server", "--listen", "127.0.0.1:0")
        assert part.process.stdout is not None
        line = part.process.stdout.readline()
        if not line:
            part.process.wait()
            self.check()
        self.remote = f"url=http://{json.loads(line)['address']},push=true"

    def check(self) -> None:
        """Raises CoordinatorUnavailable when a part has ended by itself."""
        for part in self._parts:
            if part.ended():
                raise CoordinatorUnavailable(
                    f"the demo's {part.name} has ended by itself", part.log, _last_line(part.log)
                )

    def stop(self) -> None:
        """End every process in order; the server first, which uses the Redis of the others."""
        for part in reversed(self._parts):
            part.ask_to_stop()
            part.wait()
        self._parts.clear()
        self.clean = not _children()
        _end_all(_children())
        self._remove()

    def kill(self) -> None:
        """End every process at once: what they were doing is thrown away with their folder."""
        for part in self._parts:
            part.ask_to_stop(signal.SIGKILL)
        for part in self._parts:
            part.wait()
        self._parts.clear()
        # Whose parent was killed ends by itself, or here; all of them are ours by now.
        _end_all(_children())
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _configure(self, name: str, **document: Any) -> str:
        """A configuration file. JSON is YAML, and needs no library to write."""
        path = f"{self.folder}/{name}.yaml"
        document["leases"] = {"clock-margin": "100ms"}  # every process is on this machine: there is one clock
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
        return path

    def _run(self, name: str, config: str, *command: str) -> Part:
        log = f"{self.folder}/{name}.log"
        parent = os.getpid()
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.cli.main", "--config", config, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if "--json" in command else file,
                stderr=file,
                # What libraries put into the temporary folder goes with ours.
                env={**_environment(), "TMPDIR": self.folder, "XDG_RUNTIME_DIR": self._runtime},
                text=True,
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 -- one thread so far
            )
        part = Part(name, process, log)
        self._parts.append(part)
        return part

    def _wait_for_redis(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check()
            endpoint = running(self.settings.cachedir)
            if endpoint is not None:
                return endpoint.url
            time.sleep(0.05)
        raise CoordinatorUnavailable("the demo's fleet did not start in time", self._parts[0].log)


def _environment() -> dict[str, str]:
    """Ours without the user's own configuration, which is none of the demo's business."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CASKEEPER_")}


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines: Sequence[str] = file.read().strip().splitlines()
    return lines[-1] if lines else ""


def _end_all(processes: Sequence[int]) -> None:
    """Kill them and their descendants, which become ours one generation after the other."""
    while processes:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        processes = _children()


def _adopt_orphans() -> None:
    """Become the parent of what our children leave behind, so that it can be found and ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    """The processes we are the parent of, adopted ones included."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            found += [int(word) for word in file.read().split()]
    return found
