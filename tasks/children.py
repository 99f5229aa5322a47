"""Child processes of a supervisor: own sessions, ending with it, started again when they die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from caskeeper.embedding import REPORT_VARIABLE
from caskeeper.errors import CoordinatorUnavailable, from_json
from tasks.process import end_with_parent
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = Log("caskeeper.supervisor")

#: How long a child may take to put its jobs back and end.
STOP_S = 20.0
_LONGEST_PAUSE_S = 10.0
_LONGEST_REPORT = 64 * 1024


class Child:
    """One child. In a session of its own: Ctrl-C is for the supervisor, which ends its children in order."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._report = -1
        self._begun = 0.0
        self._pause_s = 0.5
        #: why it ended while it started, the last time; "": it did not
        self.trouble = ""

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def start(self) -> None:
        """Start without waiting."""
        parent = os.getpid()
        self._close_report()
        self._report, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                self._command,
                env={**self._environment, REPORT_VARIABLE: str(theirs)},
                pass_fds=[theirs],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints there is no data of the command that started it
                start_new_session=True,
                # No thread runs in a supervisor, and nothing else ends a child with it after a kill -9.
                preexec_fn=lambda: end_with_parent(parent, signal.SIGKILL),  # noqa: PLW1509 -- see above
            )
        finally:
            os.close(theirs)
        self._begun = time.monotonic()

    def wait_until_ready(self) -> None:
        """Wait for its one line. Raises the child's own error when it could not start."""
        with open(self._report, encoding="utf-8") as pipe:
            self._report = -1
            line = pipe.readline()
        if not line:
            raise CoordinatorUnavailable(f"the {self.name} ended while it started", "", "look at its log")
        document = json.loads(line)
        if "error" in document:
            raise from_json(document)

    def watch(self) -> None:
        """Start it again when it has died, after a pause that grows."""
        self._hear()
        if self.pid is not None:
            if time.monotonic() - self._begun > 2 * _LONGEST_PAUSE_S:
                self._pause_s, self.trouble = 0.5, ""
            return
        if time.monotonic() - self._begun >= self._pause_s:
            code = None if self._process is None else self._process.returncode
            log.warning("child ended, started again", child=self.name, code=code)
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            self.start()

    def _hear(self) -> None:
        """What it reported of its start, if it was started again. Never waits."""
        if self._report < 0:
            return
        os.set_blocking(self._report, False)
        try:
            heard = os.read(self._report, _LONGEST_REPORT)
        except BlockingIOError:
            return  # it is still starting
        self._close_report()
        if not heard:
            if time.monotonic() - self._begun < 2 * _LONGEST_PAUSE_S:  # else it had started
                self.trouble = "it ended while it started: look at its log"
            return
        try:
            document = json.loads(heard)
        except ValueError:
            return
        self.trouble = str(from_json(document)) if "error" in document else ""

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.pid is not None and self._process is not None:
            self._process.terminate()

    def stop(self, *, wait_s: float = STOP_S) -> None:
        """SIGTERM, and SIGKILL for what has not ended by then."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                log.warning("child did not end, killed", child=self.name)
                self._process.kill()
                self._process.wait()
        self._close_report()

    def _close_report(self) -> None:
        if self._report >= 0:
            os.close(self._report)
        self._report = -1
