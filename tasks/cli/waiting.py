"""Jobs that are sent together and waited for together: --detach, --timeout, progress, Ctrl-C."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from caskeeper.contract import Message, Progress
from caskeeper.errors import CaskeeperError, DeadlineExceeded
from caskeeper.job import GOES_ON, STAYS
from tasks.cli.failures import Ended
from tasks.cli.interrupt import unwound_by_sigterm
from tasks.cli.progress import Followed, view
from tasks.cli.withdrawal import withdraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from caskeeper.job import Job
    from tasks.cli.invocation import Invocation

R = TypeVar("R", bound=Message)
C = TypeVar("C", bound="Callable[..., Any]")

#: So many jobs are looked at at once; workers take them in their order, so nothing is missed.
WATCHERS = 16
_TICK_S = 0.1
#: The result of a job that is over is there, or will not come.
_STORED_S = 5.0


def _a_number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("give a number of seconds")
    return value


TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    callback=_a_number,
    metavar="S",
    help="Wait no longer than this (exit 21); a job that nobody else waits for is cancelled then.",
)
DETACH = click.option(
    "--detach",
    is_flag=True,
    help="Print the job id, do not wait; `caskeeper job ID` tells how it goes.",
)


def queueing(function: C) -> C:
    """Decorator: --detach and --timeout, as the arguments ``detach`` and ``timeout_s``."""
    return DETACH(TIMEOUT(function))


@dataclass
class Sent(Generic[R]):
    """One job of this call: what it is about, and in the end its result or its error.

    ``passed_over``: an error that does not count (--best-effort). Without a job it could not be sent.
    """

    name: str
    job: Job[R] | None
    result: R | None = None
    error: CaskeeperError | None = None
    passed_over: CaskeeperError | None = None
    bug: BaseException | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """The job's; "": there is none."""
        return "" if self.job is None else self.job.id

    def document(self, **about: object) -> dict[str, Any]:
        """As one JSON object."""
        outcome = self.result.to_json() if self.result is not None else {}
        error = self.error or self.passed_over
        if error is not None:
            outcome = {"error": error.to_json()}
        return {**about, "job": self.id, **outcome}


class Deadline:
    """--timeout: one for the whole call, however many jobs it needs."""

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self) -> float | None:
        """Seconds; None = for ever."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


def print_ids(invocation: Invocation, sent: Sequence[Sent[Any]], **more: object) -> None:
    """--detach: the job ids, instead of waiting; ``more`` for the document."""
    invocation.emit(
        {"jobs": [{"subject": one.name, "job": one.id} for one in sent if one.job], **more},
        "\n".join(one.id for one in sent if one.job) or None,
    )


def wait(
    invocation: Invocation,
    sent: Sequence[Sent[R]],
    *,
    verb: str,
    deadline: Deadline,
    goes_on: bool = True,
) -> None:
    """Until every job has ended: its ``result`` or ``error`` is set then.

    Raises KeyboardInterrupt or Ended, having withdrawn from the jobs that are left, with a line that tells
    what becomes of them. ``goes_on`` False: the queue ends with this call, and nothing is said.
    """
    watch = _Watch(sent, deadline)
    shown = {id(one): Followed(f"{verb} {one.name}".rstrip(), changed=time.monotonic()) for one in sent}
    wanted = invocation.progress and not invocation.quiet
    display = view(invocation.complain, wanted=wanted, jobs=len(sent))
    try:
        with unwound_by_sigterm():
            watch.start()
            while not watch.over:
                for one, progress in watch.news():
                    shown[id(one)].see(progress, time.monotonic())
                running = [shown[id(one)] for one in watch.running]
                display.show(running, waiting=watch.waiting)
    except (KeyboardInterrupt, Ended):
        display.close()
        if goes_on:
            leave(invocation, sent)
        raise
    finally:
        display.close()
    for one in sent:
        if one.bug is not None:
            raise one.bug


def leave(invocation: Invocation, sent: Sequence[Sent[Any]]) -> None:
    """Ctrl-C, SIGTERM: wait for none of these any more, and tell what becomes of each."""
    open_ = [one.job for one in sent if one.job and one.result is None and one.error is None]
    left = withdraw(open_)
    if sentence := left.sentence():
        invocation.note(sentence)


@contextmanager
def sending(invocation: Invocation, sent: Sequence[Sent[Any]]) -> Iterator[None]:
    """The block puts jobs into ``sent`` one by one; Ctrl-C or SIGTERM in it withdraws from those."""
    try:
        with unwound_by_sigterm():
            yield
    except (KeyboardInterrupt, Ended):
        leave(invocation, sent)
        raise


def waited(
    invocation: Invocation, sent: Sent[R], *, verb: str, detach: bool, timeout_s: float | None
) -> R | None:
    """The result of a single job; None when its id was printed instead. Raises its error."""
    if detach:
        print_ids(invocation, [sent])
        return None
    wait(invocation, [sent], verb=verb, deadline=Deadline(timeout_s))
    return outcome_of(sent)


def _without_future(way_out: str) -> str:
    """Why a job has not ended, without what would become of it if nobody withdrew from it."""
    for future in (GOES_ON, STAYS):
        way_out = way_out.removesuffix(future)
    return way_out


class _Watch:
    """Threads that follow jobs. They are daemons: an interrupted call does not wait for them."""

    def __init__(self, sent: Sequence[Sent[Any]], deadline: Deadline) -> None:
        self._todo = list(reversed(sent))
        self._deadline = deadline
        self._guard = threading.Lock()
        self._news: SimpleQueue[tuple[Sent[Any], Progress] | None] = SimpleQueue()
        self.running: list[Sent[Any]] = []
        self._left = len(sent)

    @property
    def over(self) -> bool:
        """Every job has ended, one way or the other."""
        return self._left == 0

    @property
    def waiting(self) -> int:
        """Jobs that nobody looks at yet."""
        return len(self._todo)

    def start(self) -> None:
        for number in range(min(WATCHERS, len(self._todo))):
            threading.Thread(target=self._work, name=f"watcher {number}", daemon=True).start()

    def news(self) -> Iterable[tuple[Sent[Any], Progress]]:
        """What has changed; waits a moment for the first."""
        found = []
        try:
            found.append(self._news.get(timeout=_TICK_S))
            while True:
                found.append(self._news.get_nowait())
        except Empty:
            pass
        return [one for one in found if one is not None]

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._todo:
                    return
                one = self._todo.pop()
                self.running.append(one)
            try:
                self._follow(one)
            finally:
                with self._guard:
                    self.running.remove(one)
                    self._left -= 1
                self._news.put(None)

    def _follow(self, one: Sent[Any]) -> None:
        job = one.job
        assert job is not None  # what could not be sent is not waited for
        try:
            try:
                for progress in job.follow(timeout_s=self._deadline.left_s()):
                    self._news.put((one, progress))
            except DeadlineExceeded as late:  # the job's own would be raised by its result
                left = withdraw([job])
                if not left.over:
                    asked_s = self._deadline.timeout_s or 0.0  # not what is left of it now
                    what = f"the job has not ended after {asked_s:g} s"
                    told = _without_future(late.way_out)
                    raise DeadlineExceeded(what, late.where, f"{told}{left.fate()}") from late
            one.result = job.result(_STORED_S)
        except CaskeeperError as error:
            one.error = error
        except Exception as bug:  # noqa: BLE001 -- raised again by the thread that waits
            one.bug = bug


def exit_code(sent: Iterable[Sent[Any]]) -> int:
    """0, or the code of the failure that decides about the call as a whole.

    A bug first, then what fails the same way again, then what may succeed later: that is their order.
    """
    return min((one.error.exit_code for one in sent if one.error is not None), default=0)


def outcome_of(one: Sent[R]) -> R:
    """The result of a single job. Raises its error."""
    if one.error is not None:
        raise one.error
    assert one.result is not None
    return one.result
