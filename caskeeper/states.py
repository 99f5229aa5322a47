"""The stored states of jobs, as both sides of the queue read and write them.

Whoever reaches the Redis can write there. What is no state counts as none and is written over: the library
would try to read it for ever, in a worker's child that others wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError
from celery.states import FAILURE, STARTED, SUCCESS
from kombu.utils.encoding import bytes_to_str

from caskeeper.coordination.connection import evaluate
from caskeeper.coordination.jobs import Stored
from caskeeper.coordination.scripts import load
from caskeeper.job import FINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.jobs import Release

#: What belongs to a state, as the library reads it.
_ERRORS = ("FAILURE", "RETRY", "REVOKED")
_RESULTS: dict[str, type] = {"SUCCESS": dict, **dict.fromkeys(_ERRORS, BaseException)}


class Ending(Protocol):
    """An execution, as the attribute ``execution`` of the request whose states are stored."""

    def ending(self, status: str, result: Any) -> Release | None:
        """What is to be noted with this state; None: it goes on."""

    def ended(self) -> None:
        """It was noted."""


class StoredStates(RedisBackend):  # named in broker.STATES
    """The library's place of states, with a judgement of what it finds there."""

    def get(self, key: Any) -> Any:
        """What stands there, if it is a state."""
        try:
            raw = super().get(key)
        except Exception as refused:
            if str(refused).startswith("WRONGTYPE"):
                return None
            raise
        return raw if raw and self._is_state(raw) else None

    def _is_state(self, raw: Any) -> bool:
        try:
            state: Any = self.decode_result(raw)
            status = state["status"]
            return isinstance(status, str) and isinstance(state.get("result"), _RESULTS.get(status, object))
        except Exception:  # noqa: BLE001 -- whatever it makes the library raise, nothing of ours wrote it
            return False

    def begun(self, task_id: str, told: dict[str, Any], request: Any) -> Stored:
        """The state that tells that the job has begun, to be stored by whoever takes it."""
        return self._stored(task_id, told, STARTED, request=request)

    def judged(self, stays: str | None, state: Stored) -> dict[str, Any] | None:
        """What is stored of a job that has ended; what only looks like that is written over by ``state``."""
        if stays is None:
            return None
        if self._is_state(stays):
            above: Any = self  # its types want bytes
            found: dict[str, Any] = above.decode_result(stays)
            return found
        self._write(state._replace(stay=()))
        return None

    def _store_result(
        self, task_id: Any, result: Any, state: Any, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        self._keep(task_id, result, state, traceback, request)
        return result

    def _keep(self, task_id: Any, result: Any, state: Any, traceback: Any = None, request: Any = None) -> Any:
        """One round trip, where the library looks first and then writes. What stays there; None: it is this.

        The end of an execution that still has its lease is noted in its record in the same step: whoever sees
        the one sees the other.
        """
        told = self._stored(task_id, result, state, traceback, request)
        execution: Ending | None = getattr(request, "execution", None)
        release = execution.ending(state, result) if execution is not None else None
        stays = self._write(told, release)
        if release is not None and execution is not None:
            execution.ended()
        if stays is None or self._is_state(stays):
            return stays
        return self._write(told._replace(stay=()))

    def _stored(
        self, task_id: Any, result: Any, state: Any, traceback: Any = None, request: Any = None
    ) -> Stored:
        """The state as it is stored.

        An end stays one: an execution that stood still and goes on late has nothing more to tell. A success
        stays also when another execution fails.
        """
        above: Any = self  # its types leave much out
        told = above._get_result_meta(  # noqa: SLF001 -- its own
            result=result, state=state, traceback=traceback, request=request
        )
        text = above.encode({**told, "task_id": bytes_to_str(task_id)})
        if len(text) > above._MAX_STR_VALUE_SIZE:  # noqa: SLF001 -- its own
            raise BackendStoreError("the result is too large for Redis")
        life_s = int((state == FAILURE and above.failure_expires) or above.expires)
        key = bytes_to_str(above.get_key_for_task(task_id))
        return Stored(key, text, life_s, (SUCCESS,) if state in FINAL else tuple(FINAL))

    def _write(self, state: Stored, release: Release | None = None) -> Any:
        """What is stored there and stays; None: the new state is. Tried again while Redis is away."""
        keys, args = release.words() if release is not None else ((), ())
        words = (*args, *state.words())
        above: Any = self
        return above.ensure(
            self._run, ("job_release" if release is not None else "state_store", (*keys, state.key), words)
        )

    def _run(self, name: str, keys: Sequence[str], words: Sequence[str | int]) -> Any:
        _, *stays = evaluate(self.client, load(name, ""), keys, words)
        return stays[0] if stays else None
