"""Watching a fleet while faults happen to it: one frozen moment after the other, and the operations."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import NamedTuple

from caskeeper.coordination import StateLost
from caskeeper.errors import CoordinatorUnavailable


class Sample(NamedTuple):
    """One moment of a frozen fleet; the counters are None while Redis is away or has lost them."""

    epoch: str | None
    ready: bool
    known: bool
    now_ms: int  # Redis' time
    used_bytes: int | None
    reserved_bytes: int | None
    actual_bytes: int
    names: frozenset[str]


class Watch:
    """``with Watch(fleet) as watch: …``; then ``understated``, ``peak_bytes``, ``deleted_within``."""

    def __init__(self, fleet, *, every_s=0.1):
        self.samples = []
        self._fleet = fleet
        self._every_s = every_s
        self._over = threading.Event()
        self._failures = []
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        self._thread.join()
        if kind is None:
            assert self._failures == []
            assert self.samples

    def _run(self):
        try:
            while not self._over.wait(self._every_s):
                with self._fleet.frozen():
                    self.samples.append(self._look())
        except Exception as failure:  # noqa: BLE001 -- told by the thread that waits
            self._failures.append(failure)

    def _look(self):
        oracle = self._fleet.oracle
        usage = state = None
        try:
            state = self._fleet.coordination.state()
            usage = self._fleet.coordination.usage.snapshot()
        except (StateLost, CoordinatorUnavailable):
            pass  # the fault under test
        return Sample(
            epoch=state and state.epoch,
            ready=bool(state and state.ready and not state.lost),
            known=bool(usage and usage.known),
            now_ms=state.now_ms if state else 0,
            used_bytes=usage and usage.used_bytes,
            reserved_bytes=usage and usage.reserved_bytes,
            actual_bytes=oracle.used_bytes(),
            names=frozenset(oracle.names()),
        )

    @property
    def understated(self):
        """Moments at which more was on the disk than used + reserved (I5)."""
        return [
            sample._replace(names=frozenset())
            for sample in self.samples
            if sample.known and sample.used_bytes + sample.reserved_bytes < sample.actual_bytes
        ]

    @property
    def counted(self):
        """How many moments could be judged by that."""
        return sum(sample.known for sample in self.samples)

    @property
    def peak_bytes(self):
        """The most that was on the disk."""
        return max(sample.actual_bytes for sample in self.samples)

    def deleted_within(self, period_s):
        """What went away within this time after the state was lost and made anew.

        Only between two looks at the same epoch: the cleanup of the one before may end what it has begun
        until it is fenced, which is done when the new state is ready.
        """
        first = next(sample.epoch for sample in self.samples if sample.epoch)
        began, gone = {first: -math.inf}, []
        for sample in self.samples:
            if sample.epoch:
                began.setdefault(sample.epoch, sample.now_ms)
        for before, after in zip(self.samples, self.samples[1:], strict=False):
            if not before.ready or before.epoch != after.epoch:
                continue
            if after.now_ms < began[after.epoch] + period_s * 1000:
                gone += sorted(before.names - after.names)
        return gone


class OperationsLog:
    """``with OperationsLog(fleet) as log: …``; which operations had a folder at the same time."""

    def __init__(self, fleet):
        self._staging = f"{fleet.cachedir}/tmp"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operations", daemon=True)
        self._seen = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.is_set():
            now = frozenset(os.listdir(self._staging))
            if not self._seen or self._seen[-1] != now:
                self._seen.append(now)
            time.sleep(0.002)

    def of(self, verb):
        """(all operations of this verb, the most at the same time)."""
        of_verb = [{name for name in seen if name.startswith(f"{verb}-")} for seen in self._seen]
        return set().union(*of_verb), max(map(len, of_verb), default=0)
