"""A job in the queue, seen from whoever waits for it: how far it is, and its typed outcome.

Looking polls the stored state: quickly at first, so that a short job is seen at once, then at a fifth of
a second. A Redis that goes away is waited for; a job that Redis has forgotten is reported, not awaited.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from caskeeper.contract import REQUESTS, Message, Progress
from caskeeper.coordination.jobs import DETACHED_S, WAITER_S
from caskeeper.errors import (
    Cancelled,
    CaskeeperError,
    CoordinatorUnavailable,
    DeadlineExceeded,
    InvalidRequest,
    every_error,
    from_json,
)
from caskeeper.outage import WAITING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.coordination.jobs import Withdrawal

R_co = TypeVar("R_co", bound=Message, covariant=True)

FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

#: The phase of a job that was taken, and how that of one begins which failed and was put back.
STARTED, TRYING_AGAIN = "started", "trying again after: "

#: How long a waiting caller bears with a Redis that does not answer.
PATIENCE_S = WAITING_S
#: How long a state may be gone before the job counts as forgotten: a running worker writes it anew.
FORGOTTEN_S = 20.0
#: After so long it is asked why a job waits, and then at twice the time, up to every minute.
UNSERVED_S = 5.0
#: Whoever waits for less is not kept waiting for an answer to that.
_WORTH_ASKING_S = 0.5
#: When it is looked at again first: no job takes less. After that quickly, and then ever more slowly.
_FIRST_LOOK_S, _QUICKEST_LOOK_S = 0.004, 0.002
_SLOWEST_LOOK_S = 0.2
#: What a DeadlineExceeded of the waiting says in the end about the job's future.
GOES_ON, STAYS = "it goes on; wait again or allow more time", "the job stays in the queue"
#: Whoever waits says so again so often.
ATTEND_EVERY_S = 5.0


class States(Protocol):
    """Where the states of jobs are stored."""

    def state(self, job_id: str, *, bears_s: float = WAITING_S) -> dict[str, Any] | None:
        """The stored state of a job, None when there is none.

        Raises CoordinatorUnavailable; it is ``settled`` when Redis has been away for longer than ``bears_s``.
        """

    def why_waiting(self, state: dict[str, Any]) -> str:
        """Why nobody goes on with a job in this state, in words; "": nothing is known against it."""

    def say(self, line: str) -> None:
        """Tell it to the people who wait, unless they know it."""

    def is_nowhere(self, job_id: str) -> bool:
        """Whether no queue and no worker has the job any more. Raises CoordinatorUnavailable."""

    def attend(self, job_id: str, waiter: str, for_s: float) -> None:
        """Somebody waits for the job, for so long. Raises CoordinatorUnavailable."""

    def cancel(self, job_id: str) -> Withdrawal:
        """End the job, whoever waits for it. Raises CoordinatorUnavailable."""

    def withdraw(self, job_id: str, waiter: str) -> Withdrawal:
        """Somebody waits no longer; nobody else does: end the job. Raises CoordinatorUnavailable."""


class _Standstill:
    """A state that stands still for long: its job is looked for, and lost when it was nowhere twice.

    A worker that took a job before Redis was emptied stores its state anew, and may be killed then.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None
        self._since = 0.0
        self._missed = False

    def is_lost(self, state: dict[str, Any], now: float, is_nowhere: Callable[[], bool]) -> bool:
        """Called with every state that was seen."""
        if state != self._state:
            self._state, self._since, self._missed = state, now, False
        elif now - self._since > FORGOTTEN_S:
            missed_before, self._missed, self._since = self._missed, is_nowhere(), now
            return missed_before and self._missed
        return False


def error_of(state: dict[str, Any]) -> CaskeeperError:
    """The worker's own error of a failed job; what we do not know is a bug of the worker's."""
    job_id = str(state.get("task_id", ""))
    where = f"job {job_id}"
    failure = state.get("result")
    failure = failure if isinstance(failure, dict) else {}
    args = failure.get("exc_message")
    if isinstance(args, tuple):  # told in the process that failed; what was stored as JSON is a list
        args = list(args)
    if state.get("status") == "REVOKED":
        late = args == ["expired"]
        return Cancelled("no worker began the job in its time" if late else "the job was withdrawn", where)
    name = str(failure.get("exc_type", ""))
    values = [str(value) for value in args] if isinstance(args, list) else [str(args or "")]
    if name in every_error() or failure.get("exc_module") == CaskeeperError.__module__:
        if name == CaskeeperError.__name__:
            return CaskeeperError(*values[:3])
        what, given_where, way_out = [*values, "", "", ""][:3]
        return from_json({"error": name, "what": what, "where": given_where, "way_out": way_out})
    if name in {"TimeLimitExceeded", "SoftTimeLimitExceeded"}:
        return DeadlineExceeded("the job took longer than an operation may live", where)
    return CaskeeperError(
        f"the worker failed with {name or 'an unknown error'}: {'; '.join(values)[:500]}",
        where,
        "this is a fault of caskeeper: please report it with the worker's log",
    )


def progress_of(state: dict[str, Any]) -> Progress:
    """How far a job is, from its stored state."""
    status, meta = state.get("status"), state.get("result")
    if status == "PROGRESS" and isinstance(meta, dict):
        known = {field.name for field in fields(Progress)}  # a newer worker may say more
        try:
            return Progress.from_json({name: value for name, value in meta.items() if name in known})
        except InvalidRequest:  # or something else than we know
            return Progress(phase=STARTED)
    if status == "RETRY":
        error = error_of(state)
        return Progress(phase=f"{TRYING_AGAIN}{error}")
    return Progress(phase={"STARTED": STARTED, None: "queued"}.get(status, str(status).lower()))


class _Attendance:
    """Whoever has the id of a job counts as waiting for a day; whoever looks all the time, while it looks."""

    def __init__(self, attend: Callable[[float], None]) -> None:
        self._attend = attend
        self._told = time.monotonic()
        self._began = False

    def tell(self) -> None:
        """Called with every look."""
        if time.monotonic() - self._told >= ATTEND_EVERY_S:
            self._began, self._told = True, time.monotonic()
            self._attend(WAITER_S)

    def end(self) -> None:
        """It looks no longer, and may come back."""
        if self._began:
            self._attend(DETACHED_S)


class Job(Generic[R_co]):
    """One job: ``id``, ``follow()``, ``result()``, ``done``, ``cancel()``, ``withdraw()``.

    ``waiter``: under which name the caller counts among those who wait for it; '' = not at all. ``instead``
    sends a job of the caller's own, for when this one does more than was asked for and fails; then ``id`` is
    another one.
    """

    def __init__(
        self,
        states: States,
        job_id: str,
        *,
        result: type[R_co] | None,
        recorded: bool,
        send_again: Callable[[], None] | None = None,
        waiter: str = "",
        joined: bool = False,
        instead: Callable[[], str] | None = None,
    ) -> None:
        self.id = job_id
        self._joined = joined
        self._waiter = waiter
        self._own = instead
        self._left = False
        self._send_again = send_again
        self._states = states
        self._result = result
        self._recorded = recorded  # its state was stored when it was sent: none there means forgotten
        self._final: dict[str, Any] | None = None
        #: how long a Redis that has gone away meanwhile is borne with
        self.bears_s = WAITING_S

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    @property
    def joined(self) -> bool:
        """Whether somebody else had sent it already."""
        return self._joined

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way. Raises CoordinatorUnavailable."""
        return self._look() in FINAL

    def follow(self, *, timeout_s: float | None = None) -> Iterator[Progress]:
        """How far it is, whenever that changes, until it has ended.

        Raises DeadlineExceeded (the job goes on) and CoordinatorUnavailable; never the job's own error.
        """
        last = None
        for state in self._watch(timeout_s):
            progress = progress_of(state)
            if progress != last:
                last = progress
                yield progress

    def result(self, timeout_s: float | None = None) -> R_co:
        """Its typed result. Raises the worker's own error, DeadlineExceeded, CoordinatorUnavailable."""
        for _state in self._watch(timeout_s):
            pass
        final = self._final or {}
        if final.get("status") != "SUCCESS":
            raise error_of(final)
        name = str(final.get("name"))
        if self._result is None and name not in REQUESTS:
            raise CaskeeperError(
                f"it has ended, and what the task {name[:80]!r} answers is not known here",
                f"job {self.id}",
                "upgrade the older side",
            )
        kind: Any = self._result or REQUESTS[name].RESULT
        outcome: R_co = kind.from_json(final["result"])
        return outcome

    def cancel(self) -> Withdrawal:
        """End it, whoever waits for it. Raises CoordinatorUnavailable."""
        return self._states.cancel(self.id)

    def withdraw(self) -> Withdrawal:
        """This caller waits no longer; the job is cancelled when nobody else does.

        Raises CoordinatorUnavailable.
        """
        self._left = True
        return self._states.withdraw(self.id, self._waiter)

    def _look(self) -> str | None:
        """The status now; a final state is kept."""
        if self._final is not None:
            return str(self._final["status"])
        state = self._states.state(self.id)
        if state is not None and self._is_over(state):
            self._final = state
        return None if state is None else str(state.get("status"))

    def _is_over(self, state: dict[str, Any]) -> bool:
        """Whether it has ended in this state, as far as the caller is concerned."""
        if state.get("status") not in FINAL:
            return False
        instead = self._own
        if instead is None or state.get("status") == "SUCCESS" or self._left:
            return True
        self._own = None
        self.id, self._joined = instead(), False
        return False

    def _watch(self, timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Every state seen before the final one; meanwhile the caller counts among those who wait."""
        attendance = _Attendance(self._attend)
        try:
            for state in self._states_until_final(timeout_s):
                attendance.tell()
                if state:
                    yield state
        finally:
            if self._final is None:
                attendance.end()

    def _attend(self, for_s: float) -> None:
        if self._waiter and not self._left:
            with suppress(CoordinatorUnavailable):
                self._states.attend(self.id, self._waiter, for_s)

    def _states_until_final(self, timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Every look before the one at the final state; without a state it is empty."""
        began = time.monotonic()
        silent_since = gone_since = None
        ask_s = UNSERVED_S
        standstill = _Standstill()
        while self._final is None:
            now = time.monotonic()
            try:
                state = self._states.state(self.id, bears_s=self.bears_s)
                silent_since = None
            except CoordinatorUnavailable as gone:
                silent_since = silent_since or now
                if gone.settled or now - silent_since > min(self.bears_s, PATIENCE_S):
                    raise
                state = {}
            if state is None:
                gone_since = gone_since or now
                self._check_forgotten(now - gone_since)
                yield {}
            elif state:
                gone_since = None
                self._recorded = True
                if self._is_over(state):
                    self._final = state
                    return
                yield state
                if standstill.is_lost(state, now, self._is_nowhere):
                    self._find_again()
            waited = time.monotonic() - began
            quickest_s = _FIRST_LOOK_S if waited < _FIRST_LOOK_S else _QUICKEST_LOOK_S
            pause = min(_SLOWEST_LOOK_S, max(quickest_s, waited / 10))
            if waited >= ask_s:
                ask_s = waited + min(waited, 60.0)
                self._tell_why(state)
            time.sleep(pause if timeout_s is None else min(pause, self._left_s(waited, timeout_s, state)))

    def _tell_why(self, state: dict[str, Any] | None) -> None:
        if why := self._why_waiting(state):
            self._states.say(why)

    def _left_s(self, waited: float, timeout_s: float, state: dict[str, Any] | None) -> float:
        if waited < timeout_s:
            return timeout_s - waited
        why = self._why_waiting(state) if waited >= _WORTH_ASKING_S else ""
        way_out = f"{why}; {STAYS}" if why else GOES_ON
        if not why and state and state.get("status") == "RETRY":
            way_out = f"{progress_of(state).phase}; {GOES_ON}"
        raise DeadlineExceeded(f"the job has not ended after {timeout_s:g} s", f"job {self.id}", way_out)

    def _why_waiting(self, state: dict[str, Any] | None) -> str:
        try:
            return self._states.why_waiting(state or {})
        except CoordinatorUnavailable as trouble:
            return f"it is not known whether a worker takes it: {trouble.what}"

    def _check_forgotten(self, gone_s: float) -> None:
        if self._recorded and gone_s > FORGOTTEN_S:
            raise self._forgotten()

    def _find_again(self) -> None:
        """Its message was lost on its way: whoever has sent it sends it again, once. It runs once at most."""
        if self._send_again is None:
            raise self._forgotten()
        send, self._send_again = self._send_again, None
        send()

    def _is_nowhere(self) -> bool:
        try:
            return self._states.is_nowhere(self.id)
        except CoordinatorUnavailable:
            return False

    def _forgotten(self) -> CoordinatorUnavailable:
        return CoordinatorUnavailable(
            "the queue has forgotten this job: Redis was emptied, or the result is too old",
            f"job {self.id}",
            "ask again; work that was done is found",
        )
