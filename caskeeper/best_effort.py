"""Jobs that must not fail a build: trouble with a remote or the queue counts as not done, and is told once.

What is Transient is passed over, and of a push also what its remotes refuse: a certificate that has expired
there, or a right that was taken away, must not end every build. Bugs, and what the caller got wrong, stay
errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from caskeeper.contract import Message
from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import CaskeeperError, ConfigInvalid, PermissionDenied, Transient
from caskeeper.job import Job
from caskeeper.outage import HURRY_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caskeeper.contract import Progress

R_co = TypeVar("R_co", bound=Message, covariant=True)
R = TypeVar("R", bound=Message)


def is_trouble(error: CaskeeperError) -> bool:
    """Whether it may succeed later."""
    return isinstance(error, Transient)


def is_trouble_of_a_push(error: CaskeeperError) -> bool:
    """As ``is_trouble``, or a remote refuses it: its error names the remote."""
    return is_trouble(error) or (isinstance(error, PermissionDenied) and _names_a_remote(error))


def is_trouble_of_a_fleet(error: CaskeeperError) -> bool:
    """As ``is_trouble_of_a_push``, or a remote of the configuration is of no use.

    One that the caller has named is an argument of his, and may be wrong.
    """
    return is_trouble_of_a_push(error) or (isinstance(error, ConfigInvalid) and _names_a_remote(error))


def passes_of(remotes: Sequence[str] | None) -> Callable[[CaskeeperError], bool]:
    """What is passed over of a push to these remotes; without any, to those of the configuration."""
    return is_trouble_of_a_push if remotes else is_trouble_of_a_fleet


def _names_a_remote(error: CaskeeperError) -> bool:
    return "://" in f"{error.what} {error.where}"


class BestEffortJob(Job[R_co]):
    """As a Job, but its ``result()`` and ``follow()`` raise nothing that ``passes``.

    ``trouble`` is what was passed over, None as long as there was none: it tells a result that says "not
    here" from a remote that could not be asked (I10). A job that could not be sent has the id ''.
    """

    def __init__(
        self,
        job: Job[R_co] | None,
        *,
        instead: R_co,
        say: Callable[[CaskeeperError], None],
        passes: Callable[[CaskeeperError], bool] = is_trouble,
    ) -> None:
        self.trouble: CaskeeperError | None = None
        if job is not None:
            job.bears_s = HURRY_S
        self._passes = passes
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
        """Its result; after trouble one that says that nothing was done. Raises what does not pass."""
        if self._job is not None and self.trouble is None:
            try:
                return self._job.result(timeout_s)
            except CaskeeperError as trouble:
                if not self._passes(trouble):
                    raise
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

    def _pass_over(self, trouble: CaskeeperError) -> None:
        if self.trouble is None:
            self.trouble = trouble
            self._say(trouble)


class BestEffort:
    """What one client passes over: each kind of trouble is said once, however many jobs meet it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[type[CaskeeperError]] = set()

    def job(
        self,
        send: Callable[[], Job[R]],
        *,
        instead: R,
        passes: Callable[[CaskeeperError], bool] = is_trouble,
    ) -> BestEffortJob[R]:
        """Send it if that can be done now. Raises what is Permanent."""
        try:
            return BestEffortJob(send(), instead=instead, say=self.say, passes=passes)
        except Transient as trouble:
            unsent = BestEffortJob(None, instead=instead, say=self.say)
            unsent.trouble = trouble
            self.say(trouble)
            return unsent

    def say(self, trouble: CaskeeperError) -> None:
        """Once for each class."""
        if type(trouble) not in self._said:
            self._said.add(type(trouble))
            self._say(f"going on without the cache: {trouble}")
