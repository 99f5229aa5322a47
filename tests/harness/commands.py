"""The real `caskeeper` command as processes: single calls, and a worker and a server that stay."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from harness.valkey import ValkeyServer

COMMAND = [sys.executable, "-P", "-m", "tasks.cli.main"]


def environment(**changes):
    """Ours without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASKEEPER_")}
    return {**kept, **changes}


def call(*words, cwd=None, timeout_s=60, **env):
    """One call to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def start(*words, cwd=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **env):
    """One call that is still running; in a session of its own, as a terminal would have it."""
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(**env),
        stdout=stdout,
        stderr=stderr,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def write_config(path, **document):
    """A configuration file; JSON is YAML."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return str(path)


def until(ask, *, wait_s=30):
    """The first true answer."""
    deadline = time.monotonic() + wait_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def processes_naming(text):
    """The command lines of running processes that hold ``text``."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                line = file.read().replace("\0", " ")
        except OSError:
            continue
        if text in line and int(pid) != os.getpid():
            found[int(pid)] = line
    return found


class Place:
    """A folder with a Redis, its configuration, and whatever long-running commands were started in it."""

    def __init__(self, folder, valkey):
        self.folder = str(folder)
        self.valkey = valkey
        self.cachedir = f"{self.folder}/cache"
        self.remote = ""
        self.config = self.configure()
        self._running = []

    def configure(self, name="fleet", **more):
        return write_config(
            f"{self.folder}/{name}.yaml",
            **{
                "cachedir": self.cachedir,
                "redis": self.valkey.url,
                "roots": [self.folder],
                "leases": {"clock-margin": "0s"},
                "cache": {"reserved-disk-space": "0"},
                **more,
            },
        )

    def run(self, *words, config=None, **options):
        return call("--config", config or self.config, *words, **options)

    def ask(self, *words, **options):
        """(exit code, the one JSON document)."""
        done = self.run("--json", *words, **options)
        assert done.stdout.count("\n") == 1, f"not one document: {done.stdout!r}\n{done.stderr}"
        return done.returncode, json.loads(done.stdout)

    def worker(self, config=None):
        log = f"{self.folder}/worker-{len(self._running)}.log"
        with open(log, "w", encoding="utf-8") as file:
            process = start("--config", config or self.config, "worker", stdout=file, stderr=file)
        self._running.append(process)
        until(lambda: process.poll() is not None or "taking jobs" in read(log))
        assert process.poll() is None, read(log)
        return process

    def server(self, *words, config=None, database=1, name="server"):
        """A server on a volume and a database of its own; answers its process and URL."""
        config = config or self.configure(
            name, cachedir=f"{self.folder}/{name}", redis=f"{self.valkey.url}?db={database}"
        )
        log = f"{self.folder}/{name}.log"
        with open(log, "w", encoding="utf-8") as file:
            process = start(
                "--config", config, "server", "--listen", "127.0.0.1:0", *words, stdout=file, stderr=file
            )
        self._running.append(process)
        until(lambda: process.poll() is not None or "listening on" in read(log))
        assert process.poll() is None, read(log)
        return process, "http://" + re.search(r"listening on (\S+)", read(log)).group(1)

    def tree(self, name, files):
        """A folder ``{path: bytes}`` to commit."""
        for path, content in files.items():
            place = f"{self.folder}/{name}/{path}"
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(content)
        return f"{self.folder}/{name}"

    def end(self):
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            process.wait(30)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


@contextmanager
def place_in(folder):
    """A Place whose processes end with the block."""
    with ValkeyServer() as valkey:
        place = Place(folder, valkey)
        try:
            yield place
        finally:
            place.end()
