"""The way every call to one remote takes: negotiated first, with a deadline, bounded retry, and memory."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from caskeeper.errors import CaskeeperError, ConfigInvalid, Permanent, Transient
from worker import errand
from worker.remote.breaker import Breaker
from worker.remote.calls import called, first_piece
from worker.remote.capabilities import light_lookups, negotiate
from worker.remote.channel import Connection
from worker.remote.failure import CallFailed
from worker.remote.methods import FIND_MISSING, GET_CAPABILITIES, LOOKUPS, READ
from worker.remote.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.coordination.breakers import LeftAlone
    from worker.remote.capabilities import Capabilities
    from worker.remote.methods import Method
    from worker.remote.patience import Patience

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)
Result = TypeVar("Result")


#: What the fleet said of a remote whose time is over counts for so long: somebody looks whether it is back.
_HEARD_S = 1.0


class Session:
    """What the blobs and the index of one remote share. Safe to use from several threads.

    A remote that did not answer is left alone for a while, by this process and, through ``breaker``, by the
    fleet.
    """

    def __init__(self, spec: RemoteSpec, patience: Patience, breaker: Breaker | None = None) -> None:
        self.patience = patience
        self._breaker = breaker or Breaker()
        self.connection = Connection(spec)
        self.url = self.connection.url
        self.instance_name = self.connection.instance_name
        self._role, self._index = spec.type, spec.index
        self.watchdog = Watchdog(patience.silence_s)
        self._lock = threading.Lock()
        self._known: tuple[Capabilities, float] | None = None
        self._silent: tuple[CaskeeperError, float] | None = None
        #: the methods that were answered since it was last silent
        self._answered: set[str] = set()

    @property
    def met(self) -> bool:
        """What the first use would be told is known: what it can do, or that it did not answer."""
        now = time.monotonic()
        known, silent = self._known, self._silent
        return (known is not None and now < known[1]) or (silent is not None and now < silent[1])

    def capabilities(self) -> Capabilities:
        """Negotiated at the first use and now and then again. Raises what was remembered while it counts."""
        known = self._known
        if known and time.monotonic() < known[1]:
            return known[0]
        with self._alone():
            self._complain()
            known = self._known
            if known is None or time.monotonic() >= known[1]:
                # A second attempt heals a connection that an idle time has ended; more would be waiting.
                return self._negotiate(attempts=min(2, self.patience.attempts))
            return known[0]

    def hear(self, told: LeftAlone | None) -> threading.Thread | None:
        """What the fleet knows: it is left alone, or (None) it is not.

        The thread that looks whether it is back, when that has come to us.
        """
        silent = self._silent
        if told is None:
            if silent is not None and isinstance(silent[0], Transient):
                self._silent = None
            return None
        self._silent = (told.error, time.monotonic() + max(told.left_s, _HEARD_S))
        self._known = None
        if not told.probe:
            return None
        looks = threading.Thread(target=self._look_again, name=f"looks at {self.url[:40]}", daemon=True)
        looks.start()
        return looks

    def _look_again(self) -> None:
        try:
            found = self._contact(attempts=1)
            self._look_something_up(found)
            self._note(found)
        except ConfigInvalid:
            return  # trouble of ours: somebody else may look next
        except Permanent:
            # It answers, and refuses: that is what the next one has to hear, and not that it is silent.
            self._breaker.answered(self.url)
        except CaskeeperError:
            return  # noted, and left alone for longer
        self._silent = None

    def _look_something_up(self, found: Capabilities) -> None:
        """Raises when it meets one that says what it can do and hangs when it is to do it."""
        for method, request in light_lookups(found, self.instance_name):
            once = (
                partial(first_piece, self.connection.reader(method), request)
                if method is READ
                else partial(called, self.connection.unary(method), request)
            )
            try:
                self.attempt(method, once, budget_s=self.patience.probe_s / 2, attempts=1)
            except CaskeeperError as error:
                if error.settled or self.connection.closed:
                    raise  # silence; any other answer is one

    def _negotiate(self, *, attempts: int) -> Capabilities:
        found = self._contact(attempts=attempts)
        self._note(found)
        return found

    def _contact(self, *, attempts: int) -> Capabilities:
        return self.attempt(
            GET_CAPABILITIES,
            lambda left_s: negotiate(self.connection, left_s, role=self._role, index=self._index),
            budget_s=self.patience.probe_s,
            attempts=attempts,
        )

    def _note(self, found: Capabilities) -> None:
        self._known = (found, time.monotonic() + self.patience.negotiation_life_s)
        self._breaker.answered(self.url)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One first contact at a time; who waits for another's looks whether it is still wanted."""
        while not self._lock.acquire(timeout=errand.LOOK_S):
            errand.check()
        try:
            yield
        finally:
            self._lock.release()

    def forget(self) -> None:
        """What was negotiated holds no longer: the next use asks again."""
        self._known = None

    def unary(
        self,
        method: Method[Asked, Answered],
        request: Asked,
        *,
        read: Callable[[Answered], Result],
        where: str = "",
    ) -> Result:
        """One request, one answer. ``read`` makes the result of it and may itself raise CallFailed."""
        self.capabilities()

        def once(left_s: float) -> Result:
            return read(called(self.connection.unary(method), request, left_s))

        budget_s = self.patience.call_s
        if method in LOOKUPS:
            # A name is looked up before anything else: so one that hangs costs no more than a dead one.
            budget_s = min(budget_s, self.patience.probe_s)
        elif method is FIND_MISSING:
            budget_s = self.answer_s(method, request.ByteSize())
        return self.attempt(method, once, budget_s=budget_s, where=where)

    def answer_s(self, method: Method[Any, Any], size_bytes: int) -> float:
        """How long an answer of this size is waited for: less for the first one.

        A server may say what it can do, know names, and hang in this method alone.
        """
        known = method.path in self._answered
        return self.patience.call_s if known else self.patience.first_answer_s(size_bytes)

    def attempt(
        self,
        method: Method[Any, Any],
        once: Callable[[float], Result],
        *,
        budget_s: float,
        attempts: int = 0,
        where: str = "",
        oversize: bool = False,
    ) -> Result:
        """``once(seconds left)`` until it succeeds, fails for good, or attempts or time are used up.

        ``oversize``: a message that was too large leaves as CallFailed, for a caller that can split it.
        """
        end = time.monotonic() + errand.bounded(budget_s)
        failures = 0
        while True:
            errand.check()
            try:
                result = once(max(0.001, end - time.monotonic()))
            except CallFailed as failure:
                failures += 1
                if oversize and failure.oversize:
                    raise
                self.pause(method, failure, failures, attempts=attempts, end=end, where=where)
            else:
                self._answered.add(method.path)
                return result

    def pause(
        self,
        method: Method[Any, Any],
        failure: CallFailed,
        failures: int,
        *,
        attempts: int = 0,
        end: float | None = None,
        where: str = "",
    ) -> None:
        """Wait before the next attempt, or raise the error when there is none.

        A call that ended because its errand did is no fault of the remote's.
        """
        errand.check()
        if failures == 1 and not failure.final and self.connection.renewed(failure.code):
            return  # at once
        delay_s = self.patience.delay_s(failures, asked_s=failure.retry_after_s)
        used_up = failures >= (attempts or self.patience.attempts)
        if used_up or not failure.transient or (end is not None and time.monotonic() + delay_s >= end):
            raise self.given_up(method, failure, where=where) from None
        errand.pause(delay_s)

    def given_up(self, method: Method[Any, Any], failure: CallFailed, *, where: str = "") -> CaskeeperError:
        """The error of a failure that stays one; a remote that did not answer is remembered."""
        silent = failure.silent and not self.connection.closed
        told = self.connection.explain(failure.message) if silent else None
        error = told or failure.error(method, self.url, where=where)
        if silent:
            left_s = self._breaker.silent(self.url, error, first_s=self.patience.memory_s)
            self._silent = (error, time.monotonic() + left_s)
            self._known = None
            self._answered.clear()
            errand.settle(error)
        return error

    def _complain(self) -> None:
        """Raises the remembered failure: one dead remote costs one deadline, not one per call (R17)."""
        silent = self._silent
        if silent is None:
            return
        error, until = silent
        left_s = until - time.monotonic()
        if left_s <= 0:
            self._silent = None
            return
        what = f"{error.what}; not asked again for {left_s:.0f} s"
        raise errand.settle(type(error)(what, self.url, error.way_out))
