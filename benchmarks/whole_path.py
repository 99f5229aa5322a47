"""The whole path: the same operations as jobs of a real worker, and as commands."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from contestants import Ours
from measuring import children, compare, timed
from running import run_command

from caskeeper.client import Client
from caskeeper.config import load_settings

if TYPE_CHECKING:
    from caskeeper.contract import Message
    from caskeeper.job import Job

WORKER_CHILDREN = 2
_LOOK_S = 0.002
#: How long everything may take to start.
_START_S = 120.0


class ThroughQueue(Ours):
    """A worker with two children; from sending a job to its result, in a process that is connected."""

    name = "caskeeper by queue"
    operations = Ours.operations - {"plan one", "evict one"}
    measured = operations

    def __init__(self, folder: str, *, children: int = WORKER_CHILDREN) -> None:
        super().__init__(folder)
        self._children, self._worker = children, 0
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None, "it is not started"
        return self._client

    def prepare(self) -> None:
        super().prepare()
        self._begin()

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        super().stop()

    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        measured, result = timed(lambda: _result(self._send(operation, asked)))
        _check(operation, asked, str(getattr(result, "path", "")))
        # This process measures more than its own part in it: what it used counts for no one.
        return {"wall_s": measured["wall_s"], "cpu_s": 0.0}

    def forget(self) -> None:
        self.client.close()
        self.processes.stop_one(self._worker)
        super().forget()
        self._begin()

    def fill(self, tree: str) -> None:
        super().fill(tree)
        self._wake()

    def _send(self, operation: str, asked: dict[str, Any]) -> Job[Any]:
        client, ref = self.client, asked["ref"]
        match operation:
            case "commit" | "again":
                return client.commit(asked["tree"], ref)
            case "push" | "push again":
                return client.push(ref)
            case "pull":
                return client.pull(ref)
            case "links":
                return client.extract(ref)
            case "copy":
                return client.extract(ref, destination=asked["destination"])
            case "cleanup":
                return client.cleanup(target_bytes=self.used_bytes() // 2)
        raise AssertionError(operation)

    def used_bytes(self) -> int:
        return self.client.coordination.usage.snapshot().used_bytes

    def _begin(self) -> None:
        """Start the worker; every child has loaded its code and has its connections when this returns."""
        self.pids = {part: pid for part, pid in self.pids.items() if part in {"redis", "server"}}
        self._worker = self.processes.worker(self._config, self._children)
        self._client = Client(load_settings(self._config, environ={}))
        self._wake()
        self.pids["worker"] = self._worker
        for number, pid in enumerate(children(self._worker)):
            self.pids[f"child {number + 1}"] = pid

    def _wake(self) -> None:
        folder = f"{self.folder}/wake"
        os.makedirs(folder)
        refs = [f"bench/wake/{number}" for number in range(8)]
        for ref in refs:
            with open(f"{folder}/{ref.rpartition('/')[2]}", "w", encoding="ascii") as file:
                file.write(ref)
        client = self.client
        for job in [client.commit(folder, ref) for ref in refs]:
            job.result(timeout_s=_START_S)
        for job in [client.push(ref) for ref in refs]:  # now: another child might be quicker than its commit
            job.result(timeout_s=_START_S)
        shutil.rmtree(folder)


class ThroughCommand(ThroughQueue):
    """The same by `caskeeper commit` and so on: a new process each, which starts, sends and waits."""

    name = "caskeeper by command"

    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        words = {
            "commit": ["commit", asked["tree"], asked["ref"]],
            "push": ["push", asked["ref"]],
            "pull": ["pull", asked["ref"]],
            "links": ["extract", asked["ref"]],
            "copy": ["extract", asked["ref"], "--to", asked["destination"]],
            "cleanup": ["cleanup", "--to", str(self.used_bytes() // 2)],
        }[{"again": "commit", "push again": "push"}.get(operation, operation)]
        measured, said = timed(lambda: run_command(self._config, words))
        _check(operation, asked, str(json.loads(said).get("path", "")))
        return {"wall_s": measured["wall_s"], "cpu_s": measured["cpu_s"]}


def _check(operation: str, asked: dict[str, Any], path: str) -> None:
    if asked.get("compare") and operation in {"links", "copy"}:
        compare(asked["tree"], path)


def _result(job: Job[Message]) -> Message:
    while not job.done:  # looked at more often than its own waiting does
        time.sleep(_LOOK_S)
    return job.result()
