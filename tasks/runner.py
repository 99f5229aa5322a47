"""One task of the queue: decode the request, run its service, encode the result; what fails, fails typed.

Every task is this class with another request. A Transient error is tried again a bounded number of times
with full jitter; a Permanent one is the result; anything else is a bug and is not tried again.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from caskeeper.contract import RemoveRequest
from caskeeper.coordination.events import on_behalf_of
from caskeeper.coordination.jobs import Outcome
from caskeeper.errors import (
    Busy,
    Cancelled,
    CaskeeperError,
    CoordinatorUnavailable,
    DeadlineExceeded,
    InvalidRequest,
    LeaseLost,
    Transient,
    from_json,
)
from caskeeper.outcome import outcome_of_error, outcome_of_state
from caskeeper.queue import QUEUED
from tasks.delivery import Operation
from tasks.turns import NotYet, lane_turn
from worker.protocols import Context
from worker.telemetry.log import Log, context
from worker.telemetry.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import Message, Progress, Request
    from tasks.cleaning import CleanupWish
    from tasks.delivery import Delivery, Execution
    from worker.wiring import Services

log = Log("caskeeper.task")

#: How often a request is tried again (AC-66), and how often when the trouble is our own coordination: it
#: passes, and the caller could do nothing but ask again.
RETRIES = 2
PATIENT_RETRIES = 6
_PATIENT = (LeaseLost, Busy, CoordinatorUnavailable)
#: What is required, pinned or in use stays so for as long as its user likes: `remove` says so soon.
REMOVE_RETRIES = 1
_LONGEST_PAUSE_S = 30.0


class Provider:
    """The services of this process, built when the first task needs them: after the fork."""

    def __init__(self, build: Callable[[], Services]) -> None:
        self._build = build
        self._made: tuple[int, Services] | None = None

    def get(self) -> Services:
        """Raises whatever keeps them from being built; the next task tries again."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), self._build())
        return self._made[1]

    @property
    def made(self) -> Services | None:
        """Them, where they are built already."""
        return self._made[1] if self._made is not None and self._made[0] == os.getpid() else None

    def close(self) -> None:
        """The process ends."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].close()


class ServiceTask(Task):  # type: ignore[type-arg]  # the queue's library has no parameters at run time
    """A request's task. The application sets what stands here without a value."""

    abstract = True
    kind: ClassVar[type[Request]]
    delivery: ClassVar[Delivery]
    provider: ClassVar[Provider]
    cleanup: ClassVar[CleanupWish]

    #: expected outcomes: logged as a line, without a traceback
    throws = (CaskeeperError,)
    acks_late = True
    reject_on_worker_lost = True
    #: STARTED is stored by the execution that holds the lease: a waiting copy has not started
    track_started = False

    def run(self, *args: Any, **arguments: Any) -> dict[str, Any]:
        """One execution. Called by the worker in a child process."""
        request, fault = self._decoded(args, arguments)
        execution = self.delivery.begin(self, self._operation(request))
        try:
            with context(job=execution.task_id, task=self.name), on_behalf_of(execution.task_id):
                return self._perform(execution, request, fault)
        except Reject:
            # For these two the library calls none of the methods below: the next execution would wait.
            self.delivery.end(execution.task_id, Outcome("queued"))
            raise
        except Ignore:
            self.delivery.abandon(execution.task_id)
            raise

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after the result was stored, and the end with it."""
        self.delivery.end(task_id, outcome_of_state({"status": status, "result": retval, "task_id": task_id}))
        self._look()

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called instead of ``after_return`` when the job is tried again, its state being stored."""
        self.delivery.end(task_id, outcome_of_error(exc)._replace(state="retrying"))
        self._look()

    def _look(self) -> None:
        """Wish for what the cache wants now, when nobody waits for that.

        A child that is killed before leaves it to the next job, and to beat, which looks every minute.
        """
        services = self.provider.made
        if services is not None:
            self.cleanup.look(services, self.kind)

    def _decoded(self, args: Any, arguments: dict[str, Any]) -> tuple[Request | None, InvalidRequest | None]:
        """The request, or what is wrong with it: told when the job has begun, like every outcome."""
        if args:
            return None, InvalidRequest(
                "arguments are given by position", f"task {self.name}", "give them by their names"
            )
        try:
            return self.kind.from_json(arguments), None
        except InvalidRequest as fault:
            return None, fault

    def _operation(self, request: Request | None) -> Operation:
        """What nobody can name is an operation of its own."""
        if request is None:
            return Operation(f"job:{self.request.id}", self.kind.LANE, "", joinable=False)
        return Operation(request.flight(), self.kind.LANE, request.subject(), request.joinable())

    def _perform(
        self, execution: Execution, request: Request | None, fault: InvalidRequest | None
    ) -> dict[str, Any]:
        try:
            if request is None:
                raise fault or InvalidRequest("the request could not be read", f"task {self.name}")
            return self._serve(execution, request).to_json()
        except NotYet as taken:
            self._postpone(execution, taken)
        except SoftTimeLimitExceeded:
            raise DeadlineExceeded(
                "the operation reached its maximum life", f"job {execution.task_id}"
            ) from None
        except Transient as error:
            self._again(execution, error)
        except CaskeeperError as error:
            if execution.is_lost():  # another one is at it and will tell; what failed here may be its doing
                raise Reject(str(execution.loss()), requeue=True) from error
            raise _plain(error) from error

    def _serve(self, execution: Execution, request: Request) -> Message:
        services = self.provider.get()
        with (
            lane_turn(self.kind, execution.task_id, services.coordination.limits),
            Reporter(self._sender()) as progress,
        ):
            return services.run(
                request, Context(progress=progress, check=execution.check, spent_s=execution.spent_s)
            )

    def _postpone(self, execution: Execution, taken: NotYet) -> NoReturn:
        """Another job has its turn first: sent again, to be looked at later. No retry, and no start."""
        log.debug("not its turn", job=execution.task_id, reason=taken)
        self._store(QUEUED, None)
        try:
            self.signature_from_request(
                self.request, countdown=taken.pause_s, retries=self.request.retries or 0, **self._shown()
            ).apply_async()
        except OperationalError as failed:
            raise Reject(str(failed), requeue=True) from taken
        self.delivery.end(execution.task_id, Outcome("queued"))
        raise Ignore("another job has its turn") from taken

    def _again(self, execution: Execution, error: Transient) -> NoReturn:
        """End what was cancelled, put back, try again, or give up."""
        if execution.cancelled:
            raise Cancelled("the job was withdrawn", f"job {execution.task_id}") from error
        if execution.stopping:
            raise Reject("the worker is stopping", requeue=True)
        if execution.lost:
            # Another job of the same operation may have taken the lease, and then nobody else has this one's
            # message. Where it was delivered elsewhere already, or is over, this costs nothing.
            raise Reject(str(execution.loss()), requeue=True)
        retries = self.request.retries or 0
        limit = retries_of(self.kind, error)
        if isinstance(error, Cancelled) or retries >= limit:
            raise _plain(error) from error
        pause_s = random.uniform(0, min(_LONGEST_PAUSE_S, 2.0**retries))  # noqa: S311 -- jitter, no secret
        log.info("trying again", error=error, retries=retries + 1, of=limit)
        try:
            raise self.retry(exc=_plain(error), countdown=pause_s, max_retries=limit, **self._shown())
        except Reject as failed:
            # The library gives a job up when the message of its next try cannot be sent. Put back instead.
            raise Reject(str(failed), requeue=True) from error

    def _shown(self) -> dict[str, Any]:
        """What Flower shows of the arguments: short, as they were sent the first time."""
        request: Any = self.request  # its types leave these out
        return {"argsrepr": request.argsrepr, "kwargsrepr": request.kwargsrepr}

    def _sender(self) -> Callable[[Progress], None]:
        # Taken here: in the reporter's thread there is no current request, and another backend.
        backend, request, job_id = self.backend, self.request_stack.top, str(self.request.id)

        def send(progress: Progress) -> None:
            backend.store_result(job_id, progress.to_json(), "PROGRESS", request=request)

        return send

    def _store(self, state: str, meta: dict[str, Any] | None) -> None:
        self.backend.store_result(str(self.request.id), meta, state, request=self.request_stack.top)


def retries_of(kind: type[Request], error: Transient) -> int:
    """How often a request of this kind is tried again after this trouble."""
    if error.settled:
        return 0
    if isinstance(error, Busy) and issubclass(kind, RemoveRequest):
        return REMOVE_RETRIES
    return PATIENT_RETRIES if isinstance(error, _PATIENT) else RETRIES


def _plain(error: CaskeeperError) -> CaskeeperError:
    """The error as a class that every client knows: it travels by its name."""
    return from_json(error.to_json())
