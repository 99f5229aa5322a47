"""At least once, promptly, and never twice at the same time (queue.md 2.3, 2.4, 2.6, 2.7).

The broker hands a message to another worker when its worker has not been heard of for the visibility
time, and at once when a connection breaks. So: a heartbeat for every message a worker holds, and a lease
for every execution. A redelivered copy waits for the lease, then finds the result and goes.
"""

from __future__ import annotations

import json
import mmap
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from celery import bootsteps
from celery.exceptions import Ignore, Reject
from celery.worker import state as worker_state

from caskeeper.broker import VISIBILITY_TIMEOUT_S
from caskeeper.coordination.flights import HeldKeys
from caskeeper.errors import Cancelled, CaskeeperError, CoordinatorUnavailable, LeaseLost
from caskeeper.job import FINAL
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task

    from caskeeper.coordination.flights import Flights

T = TypeVar("T")
log = Log("caskeeper.delivery")

_STOPPED = "stopped"
_DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How long a silent worker keeps what it holds.

    The lease is the shorter one: when a message comes back after a kill, the lease of the dead is over.
    """

    visibility_timeout_s: float = VISIBILITY_TIMEOUT_S
    lease_ttl_s: float = 8.0
    #: how often a job may begin (for each time it is tried again) before it counts as one that kills workers
    max_starts: int = 5


class StopFlag:
    """Set by the worker's signal handler, read by its forked children: one shared byte."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self, *_: object, **__: object) -> None:
        """The worker is to stop."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether it is."""
        return self._byte[0] == 1


class Delivery:
    """What the tasks of one application share. ``flights`` is called in the process that needs it."""

    def __init__(self, flights: Callable[[], Flights], settings: DeliverySettings) -> None:
        self.flights = flights
        self.settings = settings
        self.stopping = StopFlag()
        self.executions: dict[str, Execution] = {}

    def begin(self, task: Task[..., Any]) -> Execution:
        """Become the one execution of this job.

        Raises Ignore when it has ended elsewhere, Reject (to be delivered again) when the worker stops,
        and CaskeeperError for a job that keeps ending its workers.
        """
        request = task.request
        execution = Execution(self, str(request.id))
        self._wait_for_lease(task, execution)
        self.executions[execution.task_id] = execution
        try:
            # In every case, not only when the message says that it is a redelivery: a client that did not
            # see its publish succeed sends the same id again.
            self._refuse_ended(task)
            self._refuse_poison(execution, request.retries or 0)
            execution.keep()
        except (Ignore, Reject):
            self.end(execution.task_id)
            raise
        return execution

    def end(self, task_id: str) -> None:
        """The execution is over; called after its result was stored."""
        execution = self.executions.pop(task_id, None)
        if execution is not None:
            execution.release()

    def put_back(self, execution: Execution) -> Reject:
        """What to raise for a job whose worker stops: another one begins it, and this start was no fault."""
        try:
            self.flights().take(_stopped(execution.task_id), _STOPPED, ttl_s=_DAY_S)
        except CoordinatorUnavailable as gone:
            log.debug("stop not noted", job=execution.task_id, error=gone)
        return Reject("the worker is stopping", requeue=True)

    def _wait_for_lease(self, task: Task[..., Any], execution: Execution) -> None:
        pause = 0.1
        while not self._patiently(execution.take):
            self._refuse_ended(task)
            self._stop_here()
            time.sleep(pause)
            pause = min(pause * 2, 0.5)

    def _refuse_poison(self, execution: Execution, retries: int) -> None:
        if self._patiently(lambda: self.flights().release(_stopped(execution.task_id), _STOPPED)):
            return  # the last start was put back in good order
        name = f"{execution.task_id}.{retries}"
        starts = self._patiently(lambda: self.flights().count_delivery(name))
        if starts > self.settings.max_starts:
            raise CaskeeperError(
                f"the job began {self.settings.max_starts} times and its worker ended each time",
                f"job {execution.task_id}",
                "look into the workers' log and at their memory limit",
            )

    def _refuse_ended(self, task: Task[..., Any]) -> None:
        meta = task.backend.get_task_meta(str(task.request.id), cache=False)
        if str(meta["status"]) in FINAL:
            raise Ignore("it has ended already")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer, when need be after Redis is back: without it nothing can be reported either."""
        while True:
            self._stop_here()
            try:
                return ask()
            except CoordinatorUnavailable:
                time.sleep(0.5)

    def _stop_here(self) -> None:
        if self.stopping.is_set():
            raise Reject("the worker is stopping", requeue=True)


def _stopped(task_id: str) -> str:
    """The mark of a start that was put back, kept among the leases."""
    return f"{task_id}:stopped"


class Execution:
    """The lease of one execution, renewed by a thread at a quarter of its life."""

    def __init__(self, delivery: Delivery, task_id: str) -> None:
        self.task_id = task_id
        self.lost = False
        self._delivery = delivery
        self._token = uuid.uuid4().hex
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def stopping(self) -> bool:
        """The worker wants to end: put the job back."""
        return self._delivery.stopping.is_set()

    def check(self) -> None:
        """Called by verbs between pieces of work. Raises Cancelled or LeaseLost to end them."""
        if self.stopping:
            raise Cancelled("the worker is stopping", f"job {self.task_id}")
        if self.lost:
            raise LeaseLost("another worker runs this job now", f"job {self.task_id}")

    def take(self) -> bool:
        """Whether this execution is the one."""
        ttl_s = self._delivery.settings.lease_ttl_s
        return self._delivery.flights().take(self.task_id, self._token, ttl_s=ttl_s)

    def keep(self) -> None:
        """Renew from now on."""
        self._keeper = threading.Thread(target=self._renew, name="execution lease", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Let the next one run. What Redis does not hear of now expires."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
        try:
            self._delivery.flights().release(self.task_id, self._token)
        except CoordinatorUnavailable as gone:
            log.debug("lease not released", job=self.task_id, error=gone)

    def _renew(self) -> None:
        ttl_s = self._delivery.settings.lease_ttl_s
        while not self._over.wait(ttl_s / 4):
            try:
                # Not renewed: Redis was emptied or away for longer than the lease. Free, it is taken anew.
                renewed = self._delivery.flights().renew(self.task_id, self._token, ttl_s=ttl_s)
                self.lost = not renewed and not self.take()
            except CoordinatorUnavailable as gone:
                log.debug("lease not renewed", job=self.task_id, error=gone)


class DeliveryHeartbeat(bootsteps.StartStopStep):
    """Says every quarter of the visibility time that this worker still holds its messages.

    It runs in the consumer's event loop, so it stops when that hangs. It counts by what the worker has
    reserved and not by what its channel knows: after a reconnect the new channel does not know the old
    messages. What a Redis that was emptied has lost of them is stored again: else nobody would do the jobs
    of a worker that is killed afterwards. ``touch`` is for a health check that looks at a file's age.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    #: set by the application before the worker starts
    delivery: Delivery
    touch: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None
        self._holder = uuid.uuid4().hex
        self._beats = self._answered = 0
        self._keys = HeldKeys("unacked_index", "unacked")

    def start(self, parent: Any) -> None:
        """Called for every (re)connection to the broker."""
        prefix = parent.app.conf.broker_transport_options.get("global_keyprefix", "")
        self._keys = HeldKeys(f"{prefix}unacked_index", f"{prefix}unacked")
        self._timer = parent.timer.call_repeatedly(self.delivery.settings.visibility_timeout_s / 4, self.beat)
        self.beat()

    def stop(self, parent: Any) -> None:
        """Called when the connection is lost, and at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def beat(self) -> None:
        """Renew every message that was taken and not acknowledged, waiting ones included."""
        held = [request.message for request in tuple(worker_state.reserved_requests)]
        messages = {str(message.delivery_tag): _as_kept(message) for message in held}
        self._beats += 1
        try:
            back = self.delivery.flights().beat(
                self._holder, self._beats, messages, answered=self._answered, transport=self._keys
            )
            self._answered = self._beats
            if back:
                log.warning("Redis had lost messages that this worker holds", messages=back)
            self.touch()
        except CoordinatorUnavailable as gone:
            log.debug("no heartbeat", error=gone)


def _as_kept(message: Any) -> str:
    """A message as the transport keeps it while a worker holds it."""
    info = message.delivery_info
    return json.dumps([message._raw, info["exchange"], info["routing_key"]])  # noqa: SLF001 -- as it came
