"""The process beside a worker: it answers `/metrics`, and ends a worker that no longer consumes.

A process of its own, because a worker forks: threads that answer HTTP would be copied in the middle of what
they do. It is forked before the worker connects anywhere, and ends with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.worker import state as worker_state

from tasks.consuming import LOOKS, Judge, Pulse
from tasks.facts import EVERY_S, Facts
from tasks.metering import zeros
from tasks.process import end_with_parent
from worker.telemetry import metrics
from worker.telemetry.endpoint import Endpoint, address_of
from worker.telemetry.log import Log
from worker.telemetry.metrics import Sample, sample

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from tasks.delivery import StopFlag
    from worker.wiring import Services

log = Log("caskeeper.watch")

#: How long a worker that is ended may write down where it hangs.
_LAST_WORDS_S = 2.0
#: How often a consumer gives a sign of life.
BEAT_S = 1.0
#: After so long without one it takes no jobs.
_ABSENT_S = 15.0


class Watch:
    """Made in the worker's process; ``start`` forks."""

    def __init__(
        self,
        *,
        redis_url: str,
        build: Callable[[], Services],
        lanes: Sequence[str],
        children: int,
        stopping: StopFlag,
        bound: socket.socket | None = None,
        looks: int = LOOKS,
        every_s: float = EVERY_S,
    ) -> None:
        self._redis_url = redis_url
        self._build = build
        self._lanes = tuple(lanes)
        self._children = children
        self._stopping = stopping
        self._bound = bound
        self._looks = looks
        self._every_s = every_s
        self.pulse = Pulse()
        self._renewed = Pulse()
        self._process = 0

    def start(self) -> None:
        """Watch this process from now on, and hear of what its children count."""
        faulthandler.enable(2)  # what a worker that is ended was doing is written down
        pipe = metrics.Pipe()
        worker = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            status = 1
            try:
                end_with_parent(worker)
                _leave_signals_to_the_worker()
                self._run(worker, pipe)
            except BaseException:  # noqa: BLE001 -- the last door of a process
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(status)
        pipe.only_write()
        metrics.send_to(pipe.send)
        if self._bound is not None:
            log.info("metrics", address=address_of(self._bound))
            self._bound.close()

    def stop(self) -> None:
        """The worker ends in order: nothing of it is left for whoever started it to clear away."""
        process, self._process = self._process, 0
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # the queue's library may have seen its end
                os.waitpid(process, 0)

    def beat(self) -> None:
        """Called by the worker's consumer."""
        if self._process and not _lives(self._process):
            self._process = 0
            log.error("nobody watches this worker any more: its watching process has ended; restart it")
        begun = sum(worker_state.total_count.values())
        self.pulse.beat(begun=begun, held=len(worker_state.reserved_requests))

    def renewed(self) -> None:
        """Called when Redis took what the worker wrote."""
        self._renewed.beat(begun=0, held=0)

    def _run(self, worker: int, pipe: metrics.Pipe) -> None:
        from caskeeper.queue import Queue  # noqa: PLC0415 -- only in the process that asks

        facts = Facts(_once(self._build), Queue(self._redis_url, patience_s=0.0))
        facts.start(every_s=self._every_s)
        judge = Judge(children=self._children, looks=self._looks)
        sick = ""
        if self._bound is not None:
            self._answer(self._bound, pipe, facts, lambda: sick)
        else:
            threading.Thread(target=_swallow, args=(pipe,), daemon=True).start()
        while True:
            facts.look_at_redis()
            queued = None if facts.queued is None else sum(facts.queued.get(lane, 0) for lane in self._lanes)
            sick = "" if self._stopping.is_set() else judge.look(self.pulse.read(), queued)
            if sick:
                _end(worker, sick)
            time.sleep(self._every_s)

    def _answer(
        self, bound: socket.socket, pipe: metrics.Pipe, facts: Facts, sick: Callable[[], str]
    ) -> None:
        from worker.telemetry.registry import Registry  # noqa: PLC0415 -- only in the process that answers

        registry = Registry(lambda: (*facts.samples, *self._own()))
        registry.add(zeros())
        threading.Thread(target=lambda: registry.add(pipe.samples()), name="counts", daemon=True).start()
        Endpoint(bound, render=registry.render, sick=sick, unready=lambda: self._unready(facts)).start()

    def _own(self) -> list[Sample]:
        sign = self.pulse.read()
        signs = {_AGE: sign, _RENEWED: self._renewed.read()}
        return [
            *(sample(name, time.monotonic() - one.at) for name, one in signs.items() if one.at),
            sample("caskeeper_worker_begun", sign.begun),
            sample("caskeeper_worker_held", sign.held),
            sample("caskeeper_worker_children", self._children),
            *(sample("caskeeper_worker_lane", 1, lane=lane) for lane in self._lanes),
        ]

    def _unready(self, facts: Facts) -> str:
        if self._stopping.is_set():
            return "the worker is stopping"
        sign = self.pulse.read()
        if sign.at == 0 or time.monotonic() - sign.at > _ABSENT_S:
            return facts.trouble or "the worker takes no jobs"
        if time.monotonic() - self._renewed.read().at > _ABSENT_S:
            return facts.trouble or "Redis answers and takes nothing that the worker writes"
        return facts.trouble


class PulseStep(bootsteps.StartStopStep):
    """Signs of life from the consumer's event loop, whatever Redis says to what the worker writes there.

    Where Redis answers and refuses, as when its memory is full, a restart of the worker would not help.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    #: set by the application before the worker starts
    beat: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Called for every (re)connection to the broker."""
        self._timer = parent.timer.call_repeatedly(BEAT_S, self.beat)
        self.beat()

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost, and at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_AGE = "caskeeper_worker_heartbeat_age_seconds"
_RENEWED = "caskeeper_worker_renewed_age_seconds"


def _once(build: Callable[[], Services]) -> Callable[[], Services]:
    """The services, built when that is possible for the first time."""
    made: list[Services] = []

    def get() -> Services:
        if not made:
            made.append(build())
        return made[0]

    return get


def _lives(process: int) -> bool:
    """Whether a child runs; one that has ended is cleared away."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _swallow(pipe: metrics.Pipe) -> None:
    for _ in pipe.samples():
        pass


def _leave_signals_to_the_worker() -> None:
    """Who stops a worker often signals its whole group: this process ends with it, not before."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _end(worker: int, why: str) -> Any:
    """Its exit code says that it did not end by itself; whoever runs it starts another one."""
    log.error("the worker no longer consumes and is ended", pid=worker, why=why)
    os.kill(worker, signal.SIGABRT)
    time.sleep(_LAST_WORDS_S)
    os.kill(worker, signal.SIGKILL)
