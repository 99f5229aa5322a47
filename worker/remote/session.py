"""The way every call to one remote takes: negotiated first, with a deadline, bounded retry, and memory."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message

from worker.remote.capabilities import negotiate
from worker.remote.channel import Connection
from worker.remote.failure import CallFailed
from worker.remote.methods import GET_CAPABILITIES
from worker.remote.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.errors import CaskeeperError
    from worker.remote.capabilities import Capabilities
    from worker.remote.methods import Method
    from worker.remote.patience import Patience

Asked = TypeVar("Asked", bound=Message)
Answered = TypeVar("Answered", bound=Message)
Result = TypeVar("Result")


class Session:
    """What the blobs and the index of one remote share. Safe to use from several threads."""

    def __init__(self, spec: RemoteSpec, patience: Patience) -> None:
        self.patience = patience
        self.connection = Connection(spec)
        self.url = self.connection.url
        self.instance_name = self.connection.instance_name
        self._role, self._index = spec.type, spec.index
        self.watchdog = Watchdog(patience.silence_s)
        self._lock = threading.Lock()
        self._known: tuple[Capabilities, float] | None = None
        self._silent: tuple[CaskeeperError, float] | None = None

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
        with self._lock:
            self._complain()
            if self._known is None or time.monotonic() >= self._known[1]:
                patience = self.patience
                # A second attempt heals a connection that an idle time has ended; more would be waiting.
                found = self.attempt(
                    GET_CAPABILITIES,
                    lambda left_s: negotiate(self.connection, left_s, role=self._role, index=self._index),
                    budget_s=patience.probe_s,
                    attempts=min(2, patience.attempts),
                )
                self._known = (found, time.monotonic() + patience.negotiation_life_s)
            return self._known[0]

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
            try:
                answer = self.connection.unary(method)(request, timeout=left_s)
            except grpc.RpcError as error:
                raise CallFailed.of(error) from None
            return read(answer)

        return self.attempt(method, once, budget_s=self.patience.call_s, where=where)

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
        end = time.monotonic() + budget_s
        failures = 0
        while True:
            try:
                return once(max(0.001, end - time.monotonic()))
            except CallFailed as failure:
                failures += 1
                if oversize and failure.oversize:
                    raise
                self.pause(method, failure, failures, attempts=attempts, end=end, where=where)

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
        """Wait before the next attempt, or raise the error when there is none."""
        if failures == 1 and not failure.final and self.connection.renewed(failure.code):
            return  # at once
        delay_s = self.patience.delay_s(failures, asked_s=failure.retry_after_s)
        used_up = failures >= (attempts or self.patience.attempts)
        if used_up or not failure.transient or (end is not None and time.monotonic() + delay_s >= end):
            raise self.given_up(method, failure, where=where) from None
        time.sleep(delay_s)

    def given_up(self, method: Method[Any, Any], failure: CallFailed, *, where: str = "") -> CaskeeperError:
        """The error of a failure that stays one; a remote that did not answer is remembered."""
        told = self.connection.explain(failure.message) if failure.silent else None
        error = told or failure.error(method, self.url, where=where)
        if failure.silent:
            self._silent = (error, time.monotonic() + self.patience.memory_s)
            self._known = None
        return error

    def _complain(self) -> None:
        """Raises the remembered failure: one dead remote costs one deadline, not one per call (R17)."""
        if self._silent is None:
            return
        error, until = self._silent
        left_s = until - time.monotonic()
        if left_s <= 0:
            self._silent = None
            return
        raise type(error)(f"{error.what}; not asked again for {left_s:.0f} s", self.url, error.way_out)
