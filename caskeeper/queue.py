"""The door to the queue: enqueue by name, and look at jobs. Knows no task code, only the contract."""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

from caskeeper import outage
from caskeeper.broker import broker_url, is_message_of, lane_queues, place_of
from caskeeper.contract import REQUESTS, Message, queue_of
from caskeeper.coordination.jobs import Jobs, Offer, Stored, Withdrawal
from caskeeper.coordination.keys import is_job_id
from caskeeper.coordination.refusals import way_out_of
from caskeeper.errors import CoordinatorUnavailable, InvalidRequest
from caskeeper.job import FINAL, Job
from caskeeper.outcome import outcome_of_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.contract import Request
    from caskeeper.coordination.jobrecords import JobRecord, State
    from caskeeper.coordination.jobs import Joined
    from caskeeper.messaging import Messaging

T = TypeVar("T")
R = TypeVar("R", bound=Message)

#: How long a Redis may take to answer; how long until a message that was announced is looked for again.
ANSWER_S, _ANNOUNCED_S = 4.0, 0.05
#: How many waiting messages are read to find one; how long workers have to answer, and how long that counts.
MOST_READ, PING_S, SLOW_PING_S, PING_LIFE_S = 1000, 0.7, 3.0, 2.0
#: The state of a job that was sent and not yet taken: without it, forgotten and waiting look the same.
QUEUED = "QUEUED"


class Queue:
    """Jobs into Redis and their states out of it. Usable from several threads.

    ``trouble`` tells why the workers of an embedded server cannot work, where there is one; ``say`` receives
    lines for people who wait for a job that nobody takes.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        patience_s: float = outage.PATIENCE_S,
        trouble: Callable[[], str] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.redis_url = redis_url
        self._trouble = trouble
        self._say = say
        self._asking = threading.Lock()
        self._said: set[str] = set()
        self._served: tuple[float, frozenset[str]] = (-PING_LIFE_S, frozenset())
        self._patience_s = patience_s
        self._silence = outage.Silence(redis_url, place_of(redis_url))  # while states are waited for
        self._jobs = Jobs.connect(redis_url, answer_s=ANSWER_S)
        self._library: Messaging | None = None
        broker_url(redis_url)  # what cannot be one: now, not later

    @property
    def _messaging(self) -> Messaging:
        """Made when it is first wanted, without a lock: one held at a fork is held for ever."""
        if self._library is None:
            from caskeeper.messaging import Messaging  # noqa: PLC0415 -- 75 ms that who only looks must not pay

            self._library = Messaging(self.redis_url, answer_s=ANSWER_S)
        return self._library

    @property
    def _app(self) -> Any:
        return self._messaging.app

    @property
    def _states(self) -> Any:
        return self._messaging.states

    @property
    def _troubles(self) -> tuple[type[BaseException], ...]:
        return self._messaging.troubles

    def submit(
        self,
        request: Request,
        result: type[R] | None = None,
        *,
        job_id: str | None = None,
        expires_s: float | None = None,
    ) -> Job[R]:
        """Send a request to its lane, or join the job that does the same already.

        Tried again with the same id while Redis does not answer. ``result`` is the request's RESULT, given
        where its type is known. After ``expires_s`` no worker begins it any more, and nobody joins it.
        Raises CoordinatorUnavailable.
        """
        job_id, waiter = job_id or str(uuid.uuid4()), uuid.uuid4().hex
        wider = {each.flight(): each for each in request.covers()}
        offer = Offer(
            job_id,
            request.flight() if expires_s is None else f"job:{job_id}",
            request.TASK,
            request.LANE,
            request.subject(),
            who_asks(),
            () if expires_s is not None else tuple(wider),
        )
        joined = self._patiently(lambda: self._join_or_send(offer, request, waiter, expires_s))
        sent = wider.get(joined.flight, request)

        def own() -> str:
            alone = offer._replace(job_id=str(uuid.uuid4()), satisfied_by=())
            return self._patiently(lambda: self._join_or_send(alone, request, waiter, expires_s)).job_id

        return Job(
            self,
            joined.job_id,
            result=result or cast("type[R]", request.RESULT),
            recorded=True,
            send_again=lambda: self._patiently(lambda: self._send_again(sent, joined.job_id, expires_s)),
            waiter=waiter,
            joined=not joined.new,
            instead=None if joined.flight == offer.flight else own,
        )

    def _join_or_send(self, offer: Offer, request: Request, waiter: str, expires_s: float | None) -> Joined:
        while True:
            joined = self._jobs.join(offer, waiter=waiter, state=self._queued(offer.job_id, request))
            if joined.new:
                break
            if not joined.sent:
                time.sleep(_ANNOUNCED_S)  # its sender is at it, or has died: then that ends in a moment
            elif (state := self.state(joined.job_id)) is not None and state.get("status") not in FINAL:
                return joined
            else:  # it has ended, and its worker could not say so
                self._jobs.forget(joined.job_id, joined.flight, outcome_of_state(state) if state else None)
        self._publish(request, offer.job_id, expires_s)
        self._jobs.sent(offer.job_id, offer.flight)
        return joined

    def _send_again(self, request: Request, job_id: str, expires_s: float | None) -> None:
        state = self._queued(job_id, request)
        self._states.client.set(state.key, state.text, ex=state.life_s, nx=True)
        self._publish(request, job_id, expires_s)

    def _publish(self, request: Request, job_id: str, expires_s: float | None) -> None:
        self._app.send_task(
            request.TASK,
            kwargs=request.to_json(),
            task_id=job_id,
            expires=expires_s,
            argsrepr="()",
            kwargsrepr=request.subject(),  # what Flower shows: short, and nothing secret
            retry=False,
        )

    def _patiently(self, send: Callable[[], T]) -> T:
        outage.refuse(self.redis_url, place_of(self.redis_url))
        deadline = time.monotonic() + outage.patience_s(self.redis_url, self._patience_s)
        pause = 0.1
        while True:
            try:
                done = send()
            except self._troubles as trouble:
                if time.monotonic() + pause > deadline:
                    outage.failed(self.redis_url, silent=outage.is_silence(trouble))
                    raise self._unavailable("the job could not be sent", trouble) from trouble
            else:
                outage.over(self.redis_url)
                return done
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def jobs(
        self, limit: int = 50, *, state: State | None = None, lane: str | None = None
    ) -> list[JobRecord]:
        """So many jobs, the last sent first; without Flower and without workers. CoordinatorUnavailable."""
        found = [self._settled(record) for record in self._jobs.newest(limit, state=state, lane=lane)]
        return [record for record in found if state in {None, record.state}]

    def record(self, job_id: str) -> JobRecord | None:
        """What is written down about a job; None: nothing. Raises CoordinatorUnavailable."""
        record = self._jobs.read(job_id)
        return None if record is None else self._settled(record)

    def _settled(self, record: JobRecord) -> JobRecord:
        """The record; with the end of a job whose worker could not note it.

        It was killed at a time limit, or Redis was away, or somebody revoked the job by the library's means.
        """
        if record.ended or record.alive:
            return record
        state = self.state(record.id)
        if state is not None and state.get("status") in FINAL:
            self._jobs.forget(record.id, record.flight, outcome_of_state(state))
        elif record.cancelled_by:  # its worker was killed before it heard of that
            self.cancel(record.id)
        else:
            return record
        return self._jobs.read(record.id) or record

    def cancel(self, job_id: str) -> Withdrawal:
        """End a job, whoever waits for it: queued, also without workers, at once; running within seconds.

        Raises InvalidRequest for an id that nobody knows, and CoordinatorUnavailable.
        """
        found = self._jobs.cancel(job_id, who=who_asks())
        if found.word == "unknown":
            state = self.state(job_id) if is_job_id(job_id) else None
            if state is None and self.is_nowhere(job_id):
                raise InvalidRequest(
                    f"there is no job {job_id[:80]!r}", "argument ID", "`caskeeper jobs` lists them"
                )
            if state is not None and state.get("status") in FINAL:
                return Withdrawal("over")
            found = self._jobs.cancel(job_id, who=who_asks(), unseen=True)
        return self._revoked(job_id, found)

    def withdraw(self, job_id: str, waiter: str) -> Withdrawal:
        """Somebody waits no longer; nobody else does: end the job. Raises CoordinatorUnavailable."""
        return self._revoked(job_id, self._jobs.leave(job_id, waiter, who=who_asks()))

    def attend(self, job_id: str, waiter: str, for_s: float) -> None:
        """Somebody waits for the job, for so long. Raises CoordinatorUnavailable."""
        if self._jobs.wait(job_id, waiter, for_s=for_s):
            self.cancel(job_id)

    def _revoked(self, job_id: str, found: Withdrawal) -> Withdrawal:
        """Whoever waits for a job that ends before it began hears of it, also when no worker runs."""
        if found.word == "ended" or (found.word == "over" and self._is_untold(job_id)):
            try:
                self._states.mark_as_revoked(job_id, "withdrawn", store_result=True)
            except self._troubles as trouble:
                raise self._unavailable("the end of the job could not be stored", trouble) from trouble
        return found

    def _is_untold(self, job_id: str) -> bool:
        """Whether somebody cancelled it and then could not store that."""
        record = self._jobs.read(job_id)
        state = self.state(job_id) if record and record.state == "cancelled" else None
        return state is not None and state.get("status") not in FINAL

    def job(self, job_id: str) -> Job[Message]:
        """A job by its id, sent by whomever. Raises CoordinatorUnavailable."""
        recorded = self._jobs.read(job_id) is not None  # then one without a state is forgotten
        return Job(self, job_id, result=None, recorded=recorded, waiter=uuid.uuid4().hex)

    def state(self, job_id: str, *, bears_s: float = outage.WAITING_S) -> dict[str, Any] | None:
        """The stored state of a job: ``status``, ``result``, ``name`` …; None: there is none."""
        self._silence.refuse()
        began = time.monotonic()
        try:
            raw = self._states.get(self._states.get_key_for_task(job_id))
        except self._troubles as trouble:
            gone, silent = self._unavailable("no state could be read", trouble), outage.is_silence(trouble)
            raise self._silence.goes_on(gone, silent=silent, began=began, bears_s=bears_s) from trouble
        self._silence.is_over()
        return cast("dict[str, Any]", json.loads(raw)) if raw else None

    def why_waiting(self, state: dict[str, Any]) -> str:
        """Why nobody goes on with a job in this state, in words; "": nothing is known against it.

        Workers get a moment to answer. Raises CoordinatorUnavailable.
        """
        if self._trouble is not None:
            # The embedded workers are looked after by their supervisor, who knows why they do not work.
            told = self._trouble()
            return f"the embedded workers are in trouble: {told}" if told else ""
        kind = REQUESTS.get(str(state.get("name")))
        if state.get("status") != QUEUED or kind is None:
            return ""
        name = queue_of(kind.LANE)
        if name in self._served_now():
            return ""
        return f"no worker takes jobs from the queue {name}: start one with `caskeeper worker`"

    def say(self, line: str) -> None:
        """Tell it to the people who wait; once, for whichever of their jobs it is."""
        with self._asking:
            known = line in self._said
            self._said.add(line)
        if not known and self._say is not None:
            self._say(line)

    def serving(self) -> dict[str, frozenset[str]]:
        """The queues of every worker that answers within a moment, by its name. CoordinatorUnavailable."""
        taken = self.taken()  # a Redis that does not answer is told as such, not by no worker
        answers: dict[str, Any] = {}
        try:
            for timeout_s in (PING_S, SLOW_PING_S) if taken else (PING_S,):  # who has jobs may be slow
                answers = answers or self._app.control.inspect(timeout=timeout_s).active_queues() or {}
        except self._troubles as trouble:
            raise self._unavailable("the workers could not be asked", trouble) from trouble
        return {name: frozenset(str(queue["name"]) for queue in queues) for name, queues in answers.items()}

    def _served_now(self) -> frozenset[str]:
        """Many wait at once, and one asks for all of them."""
        with self._asking:
            asked, served = self._served
            if time.monotonic() - asked >= PING_LIFE_S:
                served = frozenset().union(*self.serving().values())
                self._served = (time.monotonic(), served)
            return served

    def lengths(self) -> dict[str, int]:
        """How many jobs wait in each queue. Raises CoordinatorUnavailable."""
        try:
            return self._messaging.lengths()
        except self._troubles as trouble:
            raise self._unavailable("the queues could not be counted", trouble) from trouble

    def taken(self) -> int:
        """How many jobs workers hold: running, or waiting to be tried again."""
        try:
            with self._app.connection_for_read() as connection:
                channel: Any = connection.default_channel
                return int(channel.client.zcard(channel.unacked_index_key))
        except self._troubles as trouble:
            raise self._unavailable("the running jobs could not be counted", trouble) from trouble

    def is_nowhere(self, job_id: str) -> bool:
        """Whether no queue and no worker has the job any more: Redis has lost its message.

        False where so much waits that reading it would be a burden: then it may be among that. Raises
        CoordinatorUnavailable.
        """
        try:
            with self._app.connection_for_read() as connection:
                channel: Any = connection.default_channel
                client = channel.client
                names = [
                    channel._q_for_pri(name, step)  # noqa: SLF001 -- where the transport puts them
                    for name in lane_queues()
                    for step in channel.priority_steps
                ]
                if sum(client.llen(name) for name in names) > MOST_READ:
                    return False
                waiting = [text for name in names for text in client.lrange(name, 0, MOST_READ)]
                held = client.hvals(channel.unacked_key)
                return not any(is_message_of(job_id, text) for text in (*waiting, *held))
        except self._troubles as trouble:
            raise self._unavailable("the job could not be looked for", trouble) from trouble

    def close(self) -> None:
        """Drop the connections."""
        self._jobs.close()
        library, self._library = self._library, None
        if library is not None:
            library.close()

    def _queued(self, job_id: str, request: Request) -> Stored:
        """The state of a job that exists: stored before anybody can take it."""
        told = {"status": QUEUED, "name": request.TASK, "task_id": job_id}
        text = json.dumps({**told, "result": None, "traceback": None, "children": []})
        return Stored(self._messaging.key_of(job_id), text, int(self._states.expires))

    def _unavailable(self, what: str, trouble: BaseException) -> CoordinatorUnavailable:
        told = str(trouble.args[0] if isinstance(trouble, CoordinatorUnavailable) else trouble)
        return CoordinatorUnavailable(f"{what}: {told[:300]}", place_of(self.redis_url), way_out_of(trouble))


def who_asks() -> str:
    """Who submits or cancels, for the record of a job: USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


__all__ = ["FINAL", "QUEUED", "Job", "Queue", "place_of"]
