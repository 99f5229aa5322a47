"""Jobs that must not fail a build: trouble with a remote or the queue counts as not done, and is told once.

Only what is Transient is passed over. A bug, and what the caller got wrong, stays an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from caskeeper.contract import Message
from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import Transient
from caskeeper.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.contract import Progress

R_co = TypeVar("R_co", bound=Message, covariant=True)
R = TypeVar("R", bound=Message)


class BestEffortJob(Job[R_co]):
    """As a Job, but its ``result()`` and ``follow()`` raise nothing Transient.

    ``trouble`` is what was passed over, None as long as there was none: it tells a result that says "not
    here" from a remote that could not be asked (I10). A job that could not be sent has the id ''.
    """

    def __init__(self, job: Job[R_co] | None, *, instead: R_co, say: Callable[[Transient], None]) -> None:
        self.trouble: Transient | None = None
        self._job = job
        self._instead = instead
        self._say = say
        self.id = "" if job is None else job.id

    @property
    def done(self) -> bool:
        """Whether it has ended; also when it was not sent, or nobody can tell."""
        try:
            return self._job is None or self._job.done
        except Transient as trouble:
            self._pass_over(trouble)
            return True

    @property
    def joined(self) -> bool:
        """Whether somebody else's job stands for it."""
        return self._job is not None and self._job.joined

    def follow(self, *, timeout_s: float | None = None) -> Iterator[Progress]:
        """How far it is, until it has ended or cannot be followed."""
        if self._job is None:
            return
        try:
            yield from self._job.follow(timeout_s=timeout_s)
        except Transient as trouble:
            self._pass_over(trouble)

    def result(self, timeout_s: float | None = None) -> R_co:
        """Its result; after trouble one that says that nothing was done. Raises all but what is Transient."""
        if self._job is not None and self.trouble is None:
            try:
                return self._job.result(timeout_s)
            except Transient as trouble:
                self._pass_over(trouble)
            finally:
                self.id = self._job.id  # it may have sent one of its own, instead of somebody else's
        return self._instead

    def cancel(self) -> Withdrawal:
        """End it, whoever waits. Raises CoordinatorUnavailable."""
        return Withdrawal("unknown") if self._job is None else self._job.cancel()

    def withdraw(self) -> Withdrawal:
        """Wait for it no more. Raises CoordinatorUnavailable."""
        return Withdrawal("unknown") if self._job is None else self._job.withdraw()

    def _pass_over(self, trouble: Transient) -> None:
        if self.trouble is None:
            self.trouble = trouble
            self._say(trouble)


class BestEffort:
    """What one client passes over: each kind of trouble is said once, however many jobs meet it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[type[Transient]] = set()

    def job(self, send: Callable[[], Job[R]], *, instead: R) -> BestEffortJob[R]:
        """Send it if that can be done now. Raises what is Permanent."""
        try:
            return BestEffortJob(send(), instead=instead, say=self.say)
        except Transient as trouble:
            unsent = BestEffortJob(None, instead=instead, say=self.say)
            unsent.trouble = trouble
            self.say(trouble)
            return unsent

    def say(self, trouble: Transient) -> None:
        """Once for each class."""
        if type(trouble) not in self._said:
            self._said.add(type(trouble))
            self._say(f"going on without the cache: {trouble}")
