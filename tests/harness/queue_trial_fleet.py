"""Workers of a trial, as they ship: with the default leases, a Redis with AOF, and a journal of executions.

What is started here ends with the thread that started it: to be used from the main thread.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

from harness.commands import environment, read, until
from harness.histories_checker import bugs_in
from harness.process_tree import descendants
from harness.processes import Fleet
from harness.queue_trial_journal import Executions, Journal
from harness.valkey import ValkeyServer

from caskeeper.coordination.jobrecords import ENDED

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: In docker-compose.yml a worker that was told to end has 40 s.
GRACE_S = 40.0


@contextmanager
def trial_folder():
    """A folder in memory where there is any: a trial measures the queue, not the disk."""
    shared = "/dev/shm"
    folder = tempfile.mkdtemp(prefix="ck-trial-", dir=shared if os.path.isdir(shared) else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class TrialFleet(Fleet):
    """``workers`` are those that are wanted: neither killed nor told to end."""

    def __init__(self, folder, valkey, *, remote="", cache=None):
        super().__init__(folder, valkey, remote=remote, leases={}, cache=cache)
        self.journal = Journal(f"{folder}/journal", "trial")
        self.workers = []

    def executions(self, task=""):
        """What the workers have begun until now, whoever asked for it; or only this task."""
        return Executions(self.journal.path, task)

    def begin_workers(self, count=1, *, concurrency=2, lanes=()):
        """They take jobs when this returns; the first of them makes the volume."""
        for _ in range(count):
            self.begin_worker(concurrency=concurrency, lanes=lanes)

    def begin_worker(self, *, concurrency=2, lanes=()):
        log = f"{self.folder}/worker-{len(self._logs)}.log"
        words = ["--config", self.config, "worker", "--concurrency", str(concurrency)]
        words += [word for lane in lanes for word in ("--lane", lane)]
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.queue_trial_worker", self.journal.path, *words],
                env=environment(PYTHONPATH=TESTS),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._logs[process] = log
        self.workers.append(self.join(process))
        until(lambda: process.poll() is not None or "taking jobs" in read(log), wait_s=90)
        assert process.poll() is None, read(log)
        return process

    def kill_worker(self, process, *, whole):
        """SIGKILL: at once for all its processes, or for the first of them, with which the others end."""
        family = sorted(descendants(process.pid))
        self.journal.note("killed", pids=family)
        self.workers.remove(process)
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        until(lambda: not any(map(_lives, family)), wait_s=30)

    def end_worker(self, process):
        """SIGTERM; (its exit code, seconds until it ended), the code a sentence when that took too long."""
        self.workers.remove(process)
        began = time.monotonic()
        process.terminate()
        try:
            code = process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            code = f"did not end within {GRACE_S:g} s"
            self.journal.note("killed", pids=sorted(descendants(process.pid)))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return code, time.monotonic() - began

    def lost_workers(self):
        """Exit codes of workers that ended though nobody told them to; they count no more."""
        lost = [process for process in self.workers if process.poll() is not None]
        self.workers = [process for process in self.workers if process not in lost]
        return [process.returncode for process in lost]

    def bugs(self):
        """What the workers' logs say and no fault explains."""
        return [
            f"{os.path.basename(log)}: {text}" for log in self._logs.values() for text in bugs_in(read(log))
        ]

    def said(self, words):
        """In how many lines the workers' logs say this."""
        return sum(words in line for log in self._logs.values() for line in read(log).splitlines())

    def unfinished(self):
        """Jobs whose records are not those of ended ones."""
        records = self.client.queue.jobs(limit=10_000)
        return [f"{record.id} {record.state}" for record in records if record.state not in ENDED]


def _lives(pid):
    return bool(descendants(pid))


@contextmanager
def trial_fleet(*, remote="", cache=None):
    """A fleet without workers, in a folder of its own, with a Redis as docker-compose.yml runs it."""
    with trial_folder() as folder, ValkeyServer(appendonly=True, options=_EVERYSEC) as valkey:
        fleet = TrialFleet(folder, valkey, remote=remote, cache=cache)
        try:
            yield fleet
        finally:
            fleet.end()


_EVERYSEC = ("--appendfsync", "everysec")
