"""A fleet of real processes on one volume: they can be killed and frozen, and asked whether all is well."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

from harness.commands import Place, read, until
from harness.fleet import Oracle

from caskeeper.client import Client
from caskeeper.config import load_settings
from caskeeper.coordination import Coordination

#: Short leases: a dead process is known to be dead within seconds.
LEASES = {"operation": "4s", "session": "4s", "clock-margin": "0s"}
WAIT_S = 200


def children_of(pid):
    """The process ids of the direct children; [] when it is gone."""
    names = filter(str.isdigit, os.listdir("/proc"))
    return [int(name) for name in names if _stat(f"/proc/{name}/stat")[1:2] == [str(pid)]]


def parent_of(pid):
    return int(_stat(f"/proc/{pid}/stat")[1])


def _stat(path):
    """State, parent and further fields of a process or thread; [] when it is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _stop(pid):
    """Stopped for certain: what its threads were doing in the kernel is done. Answers whether it lives."""
    try:
        os.kill(pid, signal.SIGSTOP)
        until(lambda: all(_still(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")))
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def _still(pid, thread):
    state = _stat(f"/proc/{pid}/task/{thread}/stat")[:1]
    return not state or state[0] in "TtZXx"


def stop_family(pid):
    """Stop a process, then its children, and so on: nobody is born meanwhile. Answers all of them."""
    if not _stop(pid):
        return []
    return [pid, *(member for child in children_of(pid) for member in stop_family(child))]


class Fleet(Place):
    """Workers on one volume; ``guard`` keeps starts and kills out of a frozen moment."""

    def __init__(self, folder, valkey, *, remote="", leases=LEASES, cache=None):
        os.makedirs(folder, exist_ok=True)
        self._chosen = {
            "leases": leases,
            "cache": {"reserved-disk-space": "0", **(cache or {})},
            "artifacts": [{"url": remote, "push": True}] if remote else [],
        }
        super().__init__(folder, valkey)
        self.settings = load_settings(self.config)
        self.client = Client(self.settings)
        self.oracle = Oracle(self.cachedir)
        self.guard = threading.RLock()
        self._coordination = None
        self._logs = {}

    def configure(self, name="fleet", **more):
        return super().configure(name, **{**self._chosen, **more})

    @property
    def coordination(self):
        """Ours, to look with."""
        if self._coordination is None:
            url = self.settings.redis
            self._coordination = Coordination.connect(url, volume_id=None, leases=self.settings.leases)
        return self._coordination

    # -- doing harm ---------------------------------------------------------------------------------

    def worker(self, config=None):
        with self.guard:
            log = f"{self.folder}/worker-{len(self._running)}.log"
            process = super().worker(config)
            self._logs[process] = log
            return process

    def join(self, process):
        """A process that was started elsewhere belongs to the fleet."""
        self._running.append(process)
        return process

    def kill(self, process):
        """SIGKILL for a worker and all its children, at once."""
        with self.guard:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextmanager
    def frozen(self):
        """No process of the fleet moves: what is read inside is one moment of the whole fleet."""
        with self.guard:
            stopped = []
            try:
                for process in self._running:
                    if process.poll() is None:
                        stopped += stop_family(process.pid)
                yield
            finally:
                for pid in stopped:
                    try:
                        os.kill(pid, signal.SIGCONT)
                    except ProcessLookupError:
                        continue

    # -- looking ------------------------------------------------------------------------------------

    def owner_of(self, operation):
        """(worker, child) of a running operation: the processes that do the work."""
        child = int(operation.host.rpartition(":")[2])
        (worker,) = [process for process in self._running if process.pid in {child, parent_of(child)}]
        return worker, child

    def halfway(self, subject, size_bytes, *, share=0.3):
        """Wait until an operation on ``subject`` has brought this share of ``size_bytes``; its record."""
        top = self.oracle.used_bytes() if os.path.isdir(f"{self.cachedir}/tmp") else 0

        def is_halfway():
            return self.oracle.used_bytes() - top >= share * size_bytes

        until(is_halfway, wait_s=WAIT_S)
        (operation,) = [found for found in self.coordination.operations.list() if found.subject == subject]
        assert subject not in set(self.oracle.refs()), "it was over before the fault; use a larger artifact"
        return operation

    def quiet(self):
        """Nothing is queued or running, and the lease of whoever died is over."""

        def is_idle():
            return not self.client.queue.taken() and not any(self.client.queue.lengths().values())

        until(is_idle, wait_s=WAIT_S)

        def is_over():
            state = self.coordination.state()
            if state.lost or not state.ready or state.evict_from_ms > state.now_ms:
                return False
            return all(found.expires_ms < state.now_ms for found in self.coordination.operations.list())

        until(is_over, wait_s=WAIT_S)

    def assert_sound(self):
        """After quiet and a recount: nothing corrupt or missing, the estimate exact, nothing left over."""
        self.quiet()
        self.client.compute_size().result(WAIT_S)
        assert self.oracle.troubles() == []
        assert self.oracle.leavings() == []
        usage = self.coordination.usage.snapshot()
        assert (usage.used_bytes, usage.reserved_bytes) == (self.oracle.used_bytes(), 0)

    def assert_all_consume(self):
        """Every worker that was not killed lives and does a job: Redis serves who waits longest."""
        alive = [process for process in self._logs if process.poll() is None]
        asked = []

        def all_did_one():
            job = self.client.compute_size()
            job.result(WAIT_S)
            asked.append(job.id)
            return all(any(f"[{name}] succeeded" in self.log_of(one) for name in asked) for one in alive)

        until(all_did_one, wait_s=WAIT_S)

    def log_of(self, worker):
        return read(self._logs[worker])

    def end(self):
        self.client.close()
        if self._coordination is not None:
            self._coordination.close()
        super().end()


def seconds_since(moment):
    return time.monotonic() - moment
