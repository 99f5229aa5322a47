"""Who is measured: ours, and what all of them have in common."""

from __future__ import annotations

import os
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from measuring import children, cpu_s, forget_peak, peak
from running import Processes, run_step, write_config


@dataclass(frozen=True)
class Sample:
    """One execution; processor seconds of client and servers together, peaks of memory by process."""

    wall_s: float
    cpu_s: float
    peaks: dict[str, int] = field(default_factory=dict)


class Contestant(ABC):
    """A cache and perhaps a server, in a folder of their own, from ``start`` to ``stop``."""

    name = ""
    title = ""
    #: what it can do at all
    operations: frozenset[str] = frozenset()
    #: what of that is measured
    measured: frozenset[str] = frozenset()

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.processes = Processes()
        #: the processes that work beside the step's own, by the part they play
        self.pids: dict[str, int] = {}

    def start(self) -> None:
        os.makedirs(self.folder)
        try:
            self.prepare()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.processes.stop()
        shutil.rmtree(self.folder)

    def run(self, operation: str, tree: str, ref: str, *, compare: bool = False) -> Sample:
        """Do it and take its measure; what it checked out is compared with the tree and taken away."""
        copy = f"{self.folder}/copy"
        before = {pid: cpu_s([pid]) for pid in self._beside().values()}
        for pid in before:
            forget_peak(pid)
        found = self.step(operation, tree=tree, ref=ref, destination=copy, compare=compare)
        beside = self._beside()
        used_s = sum(cpu_s([pid]) - before.get(pid, 0.0) for pid in beside.values())
        peaks = {part: peak(pid) for part, pid in beside.items()}
        if "peak_bytes" in found:
            peaks.setdefault("client", found["peak_bytes"])
        if "companion_bytes" in found:
            peaks["companion"] = found["companion_bytes"]
        shutil.rmtree(copy, ignore_errors=True)
        result = found.get("result") or {}
        # Where taking it away again is part of the step, the step says all of it itself.
        all_cpu_s = found["cpu_s"] + (0.0 if found.get("all_cpu_s") else used_s)
        return Sample(result.get("part_s") or found["wall_s"], all_cpu_s, peaks)

    def _beside(self) -> dict[str, int]:
        """What works beside the step, and the companions of that."""
        owners = [pid for part, pid in self.pids.items() if part not in {"redis", "worker"}]
        companions = [child for pid in owners for child in children(pid)]
        return {**self.pids, **{f"companion {number}": pid for number, pid in enumerate(companions)}}

    @abstractmethod
    def prepare(self) -> None:
        """Start what is needed."""

    @abstractmethod
    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        """One operation; what ``measuring.timed`` said of it."""

    @abstractmethod
    def fill(self, tree: str) -> None:
        """Commit every folder of ``tree`` as an artifact; not measured."""

    @abstractmethod
    def forget(self) -> None:
        """The client has an empty cache after this, the server what it had."""


class Ours(Contestant):
    """Our services in process, a fresh one for each operation, and our server."""

    name = "caskeeper"
    operations = frozenset(
        (
            *("commit", "again", "push", "push again", "links", "copy", "pull"),
            *("cleanup", "plan one", "evict one"),
        )
    )
    measured = operations

    def __init__(self, folder: str, *, profile: str | None = None) -> None:
        super().__init__(folder)
        self._profile = profile
        self._caches = 0
        self._redis = self._config = ""

    def prepare(self) -> None:
        self.pids["redis"], self._redis = self.processes.redis(self.folder)
        self._config = self._new_cache()

    def server_url(self) -> str:
        """Where it pushes to: a server that is started now."""
        config = self._write("server", db=1)
        self.pids["server"], url = self.processes.server(config)
        return url

    def step(self, operation: str, **asked: Any) -> dict[str, Any]:
        wanted = {"config": self._config, "operation": operation, **asked}
        if self._profile is not None:
            name = f"{os.path.basename(asked['tree'])}.{operation.replace(' ', '-')}"
            wanted["profile"] = f"{self._profile}.{name}"
        return run_step(sys.executable, "step_ours.py", wanted)

    def fill(self, tree: str) -> None:
        wanted = {"config": self._config, "operation": "fill", "tree": tree}
        run_step(sys.executable, "step_ours.py", wanted)

    def forget(self) -> None:
        old, self._config = self._config, self._new_cache()
        shutil.rmtree(old.removesuffix(".yaml"))

    def _new_cache(self) -> str:
        if not self._caches:
            self._url = self.server_url()
        self._caches += 1
        remote = {"url": self._url, "push": True}
        return self._write(f"cache{self._caches}", db=1 + self._caches, artifacts=remote)

    def _write(self, name: str, *, db: int, **more: object) -> str:
        path = f"{self.folder}/{name}"
        return write_config(
            f"{path}.yaml",
            cachedir=path,
            redis=f"{self._redis}?db={db}",
            roots=[os.path.dirname(self.folder)],
            **more,
        )
