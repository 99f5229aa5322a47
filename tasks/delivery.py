"""At least once, promptly, and never twice at the same time (queue.md 2.3, 2.4, 2.6, 2.7).

The broker hands a message to another worker when its worker has not been heard of for the visibility
time, and at once when a connection breaks. So: a heartbeat for every message a worker holds, and a lease
for every execution, in the record of its operation (caskeeper/coordination/jobs.py). A redelivered copy
waits for the lease, then finds the result and goes.
"""

from __future__ import annotations

import mmap
import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from celery import bootsteps
from celery.exceptions import Ignore, Reject
from celery.worker import state as worker_state

from caskeeper.broker import VISIBILITY_TIMEOUT_S
from caskeeper.coordination.flights import HeldKeys
from caskeeper.coordination.jobs import Begin, Outcome, Release
from caskeeper.errors import Cancelled, CaskeeperError, CoordinatorUnavailable, LeaseLost
from caskeeper.job import FINAL
from caskeeper.outcome import outcome_of_state
from tasks.keeping import as_kept, kept, unkept
from worker.repeating import Repeated
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Task

    from caskeeper.coordination.flights import Flights
    from caskeeper.coordination.jobs import Jobs, Stored, Taken

T = TypeVar("T")
log = Log("caskeeper.delivery")

#: How long a running job may not know that it was cancelled; its lease is renewed as often.
CANCEL_LOOK_S = 0.5


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

    def begin(self, task: Task[..., Any], wanted: Operation) -> Execution:
        """Become the one execution of this operation.

        Raises Ignore when its job has ended elsewhere or was cancelled, Reject (to be delivered again) when
        the worker stops, and CaskeeperError for a job that keeps ending its workers.
        """
        request = task.request
        execution = Execution(
            self,
            Begin(
                job_id=str(request.id),
                flight=wanted.flight,
                token=uuid.uuid4().hex,
                life_s=self.settings.lease_ttl_s,
                joinable=wanted.joinable,
                task=task.name,
                lane=wanted.lane,
                subject=wanted.subject,
                worker=str(request.hostname or ""),
                pid=os.getpid(),
                retries=request.retries or 0,
            ),
        )
        state = self._begun(task, execution)
        taken = self._wait_for_lease(task, execution, state)
        self.executions[execution.task_id] = execution
        execution.keep()
        try:
            # In every case, not only when the message says that it is a redelivery: a client that did not
            # see its publish succeed sends the same id again.
            states: Any = task.backend
            self._refuse_ended(states.judged(taken.stays, state), execution)
        except Ignore:
            self.abandon(execution.task_id)
            raise
        except Reject:
            self.end(execution.task_id, Outcome("queued"))
            raise
        # From here on its end is noted with its result.
        request_now: Any = task.request_stack.top
        request_now.execution = execution
        starts = taken.starts
        if starts > self.settings.max_starts:
            log.error("job given up", job=execution.task_id, task=task.name, starts=starts - 1)
            raise CaskeeperError(
                f"the job began {starts - 1} times and its worker ended each time",
                f"job {execution.task_id}",
                "look into the workers' log and at their memory limit",
            )
        return execution

    def end(self, task_id: str, outcome: Outcome) -> None:
        """The execution is over in this way, unless that was noted with its result."""
        execution = self.executions.pop(task_id, None)
        if execution is not None:
            execution.release(outcome)

    def abandon(self, task_id: str) -> None:
        """The execution ends here without an outcome of its own: it has one elsewhere."""
        execution = self.executions.pop(task_id, None)
        if execution is not None:
            execution.stop()

    def _wait_for_lease(self, task: Task[..., Any], execution: Execution, state: Stored) -> Taken:
        """The execution is the one; told in the same step, not when the job was received."""
        pause = 0.01  # often it was done, and its execution is just letting go of the lease
        while True:
            taken = self._patiently(lambda: execution.take(state))
            if taken.word == "OK":
                execution.spent_s = taken.spent_s
                return taken
            if taken.word == "ENDED":
                raise Ignore("it has ended already")
            if taken.word == "CANCELLED":
                self._withdraw(task)
            self._refuse_ended(task.backend.get_task_meta(str(task.request.id), cache=False))
            self._stop_here()
            time.sleep(pause)
            pause = min(pause * 2, 0.5)

    def _withdraw(self, task: Task[..., Any]) -> NoReturn:
        """It was cancelled while it waited; whoever did that may not have been able to store it."""
        job_id = str(task.request.id)
        if str(task.backend.get_task_meta(job_id, cache=False)["status"]) not in FINAL:
            task.backend.mark_as_revoked(job_id, "withdrawn", request=task.request)
        task.send_event("task-revoked", terminated=False, signum=None, expired=False)
        log.info("withdrawn before it began", job=job_id, task=task.name)
        raise Ignore("it was withdrawn")

    def _begun(self, task: Task[..., Any], execution: Execution) -> Stored:
        """What tells that it has begun."""
        states: Any = task.backend
        told = {"pid": os.getpid(), "hostname": task.request.hostname}
        state: Stored = states.begun(execution.task_id, told, task.request_stack.top)
        return state

    def _refuse_ended(self, meta: dict[str, Any] | None, execution: Execution | None = None) -> None:
        if meta is None or str(meta["status"]) not in FINAL:
            return
        if execution is not None:  # its result was stored, and what was to be noted after that was not
            self._patiently(lambda: execution.settle(outcome_of_state(meta)))
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


class Operation(NamedTuple):
    """What a job does, as far as delivery is concerned."""

    flight: str
    lane: str
    subject: str
    joinable: bool


class Execution:
    """The lease of one execution, renewed by another thread, which also hears of a cancellation."""

    def __init__(self, delivery: Delivery, begin: Begin) -> None:
        self.task_id = begin.job_id
        self.lost = False
        self.cancelled = False
        #: how long ago the job first began, whichever of its tries this is
        self.spent_s = 0.0
        self._delivery = delivery
        self._begin = begin
        self._keeper: Repeated | None = None
        self._ends = self._ended = False

    @property
    def stopping(self) -> bool:
        """The worker wants to end: put the job back."""
        return self._delivery.stopping.is_set()

    def check(self) -> None:
        """Called by verbs between pieces of work. Raises Cancelled or LeaseLost to end them."""
        if self.cancelled:
            raise Cancelled("the job was withdrawn", f"job {self.task_id}")
        if self.stopping:
            raise Cancelled("the worker is stopping", f"job {self.task_id}")
        if self.lost:
            raise self.loss()

    def is_lost(self) -> bool:
        """Whether another execution has the lease, asked now; while Redis is away, as far as is known."""
        return not self._renew() or self.lost

    def loss(self) -> LeaseLost:
        """What a lost lease means for whoever has it."""
        return LeaseLost("another execution has taken the lease", f"job {self.task_id}")

    def take(self, state: Stored | None = None) -> Taken:
        """Whether this execution is the one; then ``state`` tells of it."""
        return self._jobs.take(self._begin, state)

    def keep(self) -> None:
        """Renew from now on."""
        self._keeper = Repeated(self._renew, every_s=min(CANCEL_LOOK_S, self._begin.life_s / 4))

    def stop(self) -> None:
        """Renew no more."""
        if self._keeper is not None:
            self._keeper.end()

    def release(self, outcome: Outcome) -> None:
        """Let the next one run. What Redis does not hear of now expires."""
        self.stop()
        if self._ended:
            return
        try:
            self.settle(outcome)
        except CoordinatorUnavailable as gone:
            log.debug("lease not released", job=self.task_id, error=gone)

    def settle(self, outcome: Outcome) -> None:
        """The execution ends in this way, if it is still the one."""
        begin = self._begin
        self._jobs.release(begin.job_id, begin.flight, begin.token, outcome)

    def ending(self, status: str, result: Any) -> Release | None:
        """What is noted with its result; None: this is none."""
        if status not in FINAL:
            return None
        self._ends = True
        begin, told = self._begin, {"status": status, "result": result, "task_id": self.task_id}
        return Release(begin.job_id, begin.flight, begin.token, outcome_of_state(told))

    def ended(self) -> None:
        """That was noted, or its job is another one's by now."""
        self._ended = True

    @property
    def _jobs(self) -> Jobs:
        return self._delivery.flights().jobs

    def _renew(self) -> bool:
        """Whether it is still this one's, as far as that is known."""
        begin = self._begin
        try:
            # Late is no harm: an end that nobody else has made use of is none.
            renewed = self._jobs.renew(begin.job_id, begin.flight, begin.token, life_s=begin.life_s)
            if renewed.forgotten and not self._ends:  # else nobody could see it any more, or end it
                self.take()
        except CoordinatorUnavailable as gone:
            log.debug("lease not renewed", job=self.task_id, error=gone)
            return True
        self.cancelled = self.cancelled or renewed.cancelled
        self.lost = self.lost or not renewed.held
        return renewed.held


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
        # One that waits for its time, as a job that is tried again does, is scheduled and not yet reserved.
        state: Any = worker_state  # its types are older than the second
        requests = {*state.reserved_requests, *state.scheduled_requests}
        held = [request.message for request in requests]
        messages = {str(message.delivery_tag): as_kept(message) for message in held}
        refused = unkept(set(messages))
        self._beats += 1
        try:
            back = self._beat(messages, answered=self._answered)
            self._answered = self._beats
            if refused:  # for these, as if Redis did not remember
                self._beat(refused, answered=self._beats + 1)
                kept(refused)
            if back:
                log.warning("Redis had lost messages that this worker holds", messages=back)
            self.touch()
        except CoordinatorUnavailable as gone:
            log.debug("no heartbeat", error=gone)

    def _beat(self, messages: Mapping[str, str], *, answered: int) -> int:
        return self.delivery.flights().beat(
            self._holder, self._beats, messages, answered=answered, transport=self._keys
        )
