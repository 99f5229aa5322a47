"""One frozen moment of a history after the other: what Redis says is there against what is there."""

from __future__ import annotations

import threading
import time
import traceback

from harness.histories_fleet import LEASE_S, reap

from caskeeper.coordination import StateLost
from caskeeper.errors import CoordinatorUnavailable

EVERY_S = 0.2


class Watch:
    """``with Watch(fleet, journal): …``; each look is a ``sample`` in the journal.

    ``gone`` are names below cas/ that were there at the look before, in an epoch too young for an eviction.
    """

    def __init__(self, fleet, journal):
        self._fleet, self._journal = fleet, journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._before = None
        self._began_ms = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(EVERY_S):
            try:
                self._look()
            except Exception:  # noqa: BLE001 -- a watch that looks no more would find nothing
                self._journal.note("harness failed", text=traceback.format_exc())
                return

    def _look(self):
        fleet = self._fleet
        began = time.monotonic()
        with fleet.frozen():
            state = usage = None
            if fleet.valkey.pid_or_0:
                try:
                    state = fleet.coordination.state()
                    usage = fleet.coordination.usage.snapshot()
                except (StateLost, CoordinatorUnavailable):
                    pass  # the fault under test
            actual, names = fleet.reader.used_bytes(), frozenset(fleet.reader.names())
        with fleet.guard:
            reap({process.pid for process in fleet.processes.values()} | {fleet.valkey.pid_or_0})
        epoch = state.epoch if state is not None and state.ready and not state.lost else None
        if epoch is not None:
            self._began_ms.setdefault(epoch, state.now_ms)
        sample = {"epoch": epoch, "actual": actual, "frozen_s": round(time.monotonic() - began, 4)}
        if usage is not None and usage.known and epoch is not None:
            sample |= {"used": usage.used_bytes, "reserved": usage.reserved_bytes}
        if epoch is not None and self._before is not None and self._before[0] == epoch:
            sample["now_ms"] = state.now_ms
            first = min(self._began_ms, key=self._began_ms.get) == epoch
            if not first and state.now_ms < self._began_ms[epoch] + 2 * LEASE_S * 1000:
                sample["gone"] = sorted(self._before[1] - names)
        self._before = (epoch, names)
        self._journal.note("sample", **sample)
