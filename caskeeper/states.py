"""The stored states of jobs, as both sides of the queue read and write them.

Whoever reaches the Redis can write there. What is no state counts as none and is written over: the library
would try to read it for ever, in a worker's child that others wait for.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend

from caskeeper.job import FINAL

#: What belongs to a state, as the library reads it.
_ERRORS = ("FAILURE", "RETRY", "REVOKED")
_RESULTS: dict[str, type] = {"SUCCESS": dict, **dict.fromkeys(_ERRORS, BaseException)}


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

    def _store_result(
        self, task_id: Any, result: Any, state: Any, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """An end stays one: an execution that stood still and goes on late has nothing more to tell."""
        stored = self.get(self.get_key_for_task(task_id)) if state not in FINAL else None
        if stored and self.decode_result(stored)["status"] in FINAL:
            return result
        above: Any = super()  # its types leave this out
        return above._store_result(  # noqa: SLF001 -- the method that is replaced here
            task_id, result, state, traceback, request=request, **kwargs
        )
