"""The record of every job and of every operation's flight: what runs once however many ask for it.

A *flight* is one operation (a task with its arguments), a *job* one message of the queue. The flight says
which job stands for the operation: ``next``, queued and not begun, and ``running``, with the lease of the one
execution. These places have a TTL and belong to delivery: losing one costs a second execution of an
idempotent verb (I8), no more. They are the database's and not a volume's: whoever submits first need not know
which volume that is. Every method is one round trip and raises CoordinatorUnavailable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Self, cast

from caskeeper.coordination import keys as key_names
from caskeeper.coordination.connection import Connection
from caskeeper.coordination.jobrecords import JobRecord, State
from caskeeper.coordination.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A flight is kept for a day, a job's record for a week; the log of jobs has so many.
FLIGHT_LIFE_S, RECORD_LIFE_S, MOST_JOBS = 24 * 3600.0, 7 * 24 * 3600.0, 10_000
#: A job that was announced and whose message is not in the queue yet: so long others wait for that.
PENDING_S = 3.0
#: An execution that was not renewed in time may be delivered again: so long others still join its job.
#: So long a job is remembered whose sender never said that it was sent.
RECOVERY_S = 30.0
#: Whoever waits says so again within this time; whoever only keeps the id may come back for a day.
WAITER_S, DETACHED_S = 15.0, 24 * 3600.0


class Offer(NamedTuple):
    """A job that wants to be the one of its flight. ``satisfied_by``: flights that would do as well."""

    job_id: str
    flight: str
    task: str
    lane: str
    subject: str
    who: str
    satisfied_by: tuple[str, ...] = ()


class Stored(NamedTuple):
    """A state of a job as the queue's library keeps it: where, what, and for how many seconds.

    ``stay``: the ends that are not written over by it.
    """

    key: str
    text: str
    life_s: int
    stay: tuple[str, ...] = ()

    def words(self) -> tuple[str | int, ...]:
        """The last arguments of a script that stores it."""
        return self.text, self.life_s, *self.stay


class Joined(NamedTuple):
    """The job to wait for. ``new``: it is the offered one; ``sent``: its message is in the queue.

    ``flight``: the one that it belongs to, which may be a wider operation than the offered one.
    """

    job_id: str
    new: bool
    sent: bool
    flight: str


class Begin(NamedTuple):
    """What a worker knows of an execution that it wants to begin."""

    job_id: str
    flight: str
    token: str
    life_s: float
    joinable: bool
    task: str
    lane: str
    subject: str
    worker: str
    pid: int
    retries: int


class Release(NamedTuple):
    """An execution is over; ``token`` is the one that it was begun with."""

    job_id: str
    flight: str
    token: str
    outcome: Outcome

    def words(self) -> tuple[tuple[str, str], tuple[str | int, ...]]:
        """The keys and arguments of job_release."""
        lives = _ms(FLIGHT_LIFE_S, RECORD_LIFE_S)
        keys = (key_names.flight(self.flight), key_names.job(self.job_id))
        return keys, (self.job_id, self.token, *lives, *_words(self.outcome))


class Taken(NamedTuple):
    """OK: the execution is this one, and has begun ``starts`` times without an orderly end.

    ``spent_s``: how long ago the job first began. ``stays``: the stored state by which it has ended already.

    HELD: ``holder`` (job id and worker) executes the operation; CANCELLED, ENDED: there is nothing to do.
    """

    word: Literal["OK", "HELD", "CANCELLED", "ENDED"]
    starts: int = 0
    holder: str = ""
    spent_s: float = 0.0
    stays: str | None = None


class Renewed(NamedTuple):
    """``held``: the execution is still this one's; ``cancelled``: somebody wants it to end.

    ``forgotten``: Redis has lost the record of the job; to take it again, with the same token, writes it.
    """

    held: bool
    cancelled: bool
    forgotten: bool = False


class Outcome(NamedTuple):
    """How an execution ended. ``error`` is the name of its class, ``sentence`` what a person reads.

    ``retrying`` and ``queued`` (put back) keep the job in its flight.
    """

    state: State
    error: str = ""
    exit_code: int = 0
    sentence: str = ""
    transferred_bytes: int = 0


class Withdrawal(NamedTuple):
    """What became of a job that was to be cancelled.

    ``ended``: it was queued and ends now: whoever called stores that as its result. ``running``: its
    execution ends within two seconds. ``over``: it had ended before. ``waited``: ``others`` still wait for
    it, so it goes on. ``unknown``: there is no record of it.
    """

    word: Literal["ended", "running", "over", "waited", "unknown"]
    others: int = 0


class Jobs:
    """The jobs of one database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(cls, url: str, *, answer_s: float = 30.0) -> Self:
        """The jobs of the database at ``url``. Contacts nobody. ``answer_s``: an answer takes no longer."""
        return cls(Connection(url, answer_s=answer_s))

    def close(self) -> None:
        """This process' connections are closed."""
        self._connection.close()

    def join(
        self, offer: Offer, *, waiter: str, wait_s: float = DETACHED_S, state: Stored | None = None
    ) -> Joined:
        """The job that does what is offered: one that is there already, else the offered one.

        ``waiter`` waits for it from now on. One that was cancelled is not joined. A new one counts for
        PENDING_S, until ``sent``, and is forgotten after RECOVERY_S without that; ``state`` is stored in the
        same step, never over one that is there.
        """
        answer = self._run(
            "job_join",
            (key_names.flight(offer.flight), *map(key_names.flight, offer.satisfied_by)),
            offer.job_id,
            *_ms(PENDING_S, RECOVERY_S, FLIGHT_LIFE_S, RECORD_LIFE_S, wait_s),
            MOST_JOBS,
            waiter,
            *(offer.task, offer.lane, offer.subject, offer.who),
            *((state.key, state.text, state.life_s) if state else ("", "", 0)),
            *(offer.flight, *offer.satisfied_by),
        )
        _, job_id, new, sent, flight = answer
        return Joined(job_id, new == "1", sent == "1", flight)

    def sent(self, job_id: str, flight: str) -> None:
        """The message is in the queue: the job is its flight's next for as long as that lives."""
        self._run("job_sent", (key_names.flight(flight),), job_id, *_ms(FLIGHT_LIFE_S, RECORD_LIFE_S))

    def forget(self, job_id: str, flight: str, outcome: Outcome | None = None) -> None:
        """The job is not its flight's any more, though nobody released it; ``outcome``: how it ended."""
        words = () if outcome is None else _words(outcome)
        self._run("job_forget", (key_names.flight(flight), key_names.job(job_id)), job_id, *words)

    def take(self, begin: Begin, state: Stored | None = None) -> Taken:
        """Become the one execution of the operation. The same token may take it again.

        ``state`` tells of it and is stored in the same step, unless one of its ``stay`` is there.
        """
        answer = self._run(
            "job_take",
            (key_names.flight(begin.flight), key_names.job(begin.job_id), *((state.key,) if state else ())),
            *(begin.job_id, begin.token),
            *_ms(begin.life_s, FLIGHT_LIFE_S, RECORD_LIFE_S),
            "1" if begin.joinable else "0",
            *(begin.task, begin.lane, begin.subject, begin.flight),
            *(begin.worker, begin.pid, begin.retries, MOST_JOBS),
            *(state.words() if state else ()),
        )
        word = cast("Literal['OK', 'HELD', 'CANCELLED', 'ENDED']", answer[0])
        if word == "OK":
            stays = answer[3] if len(answer) > 3 else None
            return Taken(word, starts=int(answer[1]), spent_s=int(answer[2]) / 1000, stays=stays)
        return Taken(word, holder=answer[1] if word == "HELD" else "")

    def renew(self, job_id: str, flight: str, token: str, *, life_s: float) -> Renewed:
        """So much longer, also when it was late and nobody else has begun; and whether to end."""
        answer = self._run(
            "job_renew",
            (key_names.flight(flight), key_names.job(job_id)),
            *(job_id, token),
            *_ms(life_s, FLIGHT_LIFE_S),
        )
        return Renewed(answer[0] == "OK", answer[1] == "1", answer[2] == "1")

    def release(self, job_id: str, flight: str, token: str, outcome: Outcome) -> bool:
        """The execution is over, in this way. False: its job is, or is executed anew; nothing is written."""
        keys, args = Release(job_id, flight, token, outcome).words()
        return self._run("job_release", keys, *args)[0] == "OK"

    def cancel(self, job_id: str, *, who: str, unseen: bool = False) -> Withdrawal:
        """End it, whoever waits. ``unseen``: note that also of a job without a record, for its worker."""
        return self._withdraw(job_id, "", who, unseen=unseen)

    def wait(self, job_id: str, waiter: str, *, for_s: float = WAITER_S) -> bool:
        """The waiter waits for so long; said again while it does.

        True: the job was cancelled while it ran and nobody runs it any more: to cancel it again ends it.
        """
        keys = (key_names.waiters(job_id), key_names.job(job_id))
        return self._run("job_wait", keys, waiter, *_ms(for_s))[1] == "1"

    def leave(self, job_id: str, waiter: str, *, who: str) -> Withdrawal:
        """The waiter waits no longer; the job is cancelled when nobody else does, in the same step."""
        return self._withdraw(job_id, waiter, who, unseen=False)

    def read(self, job_id: str) -> JobRecord | None:
        """The record of a job; None: there is none, or it is older than a week."""
        if not key_names.is_job_id(job_id):
            return None
        answer = self._run("job_read", (key_names.job(job_id), key_names.waiters(job_id)), job_id)
        return JobRecord.of(answer[2:]) if answer[1] == "1" else None

    def newest(self, limit: int, *, state: State | None = None, lane: str | None = None) -> list[JobRecord]:
        """So many records, the last sent first."""
        answer = self._run("jobs_list", (key_names.JOBS,), limit, state or "", lane or "")
        return [JobRecord.of(words) for words in cast("list[list[str]]", answer[1:])]

    def _withdraw(self, job_id: str, waiter: str, who: str, *, unseen: bool) -> Withdrawal:
        if not key_names.is_job_id(job_id):
            return Withdrawal("unknown")
        keys = (key_names.job(job_id), key_names.waiters(job_id))
        answer = self._run(
            "job_cancel", keys, job_id, waiter, who, "1" if unseen else "", *_ms(RECORD_LIFE_S)
        )
        return Withdrawal(
            cast("Literal['ended', 'running', 'over', 'waited', 'unknown']", answer[1]), int(answer[2])
        )

    def _run(self, name: str, keys: Sequence[str], *args: str | int) -> list[str]:
        return self._connection.script(load(name, self._connection.run_id), keys, args)


def _ms(*seconds: float) -> tuple[int, ...]:
    return tuple(round(each * 1000) for each in seconds)


def _words(outcome: Outcome) -> tuple[str | int, ...]:
    state, error, exit_code, sentence, transferred_bytes = outcome
    return state, error, exit_code, sentence[:1000], transferred_bytes
