"""How a job ended, in the words of its record, from what the queue stored about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caskeeper.coordination.jobs import Outcome
from caskeeper.errors import Cancelled, CaskeeperError
from caskeeper.job import error_of

if TYPE_CHECKING:
    from caskeeper.coordination.jobrecords import State


def outcome_of_state(state: dict[str, Any]) -> Outcome:
    """Of a final state as it is stored, or as the worker's library tells it."""
    result = state.get("result")
    if state.get("status") == "SUCCESS":
        return Outcome("done", transferred_bytes=transferred(result))
    if isinstance(result, CaskeeperError):
        return outcome_of_error(result)
    if isinstance(result, BaseException):
        result = {"exc_type": type(result).__name__, "exc_message": [str(result)]}
    return outcome_of_error(error_of({**state, "result": result}))


def outcome_of_error(error: BaseException) -> Outcome:
    """Of an execution that raised this."""
    if isinstance(error, CaskeeperError):
        state: State = "cancelled" if isinstance(error, Cancelled) else "failed"
        return Outcome(state, type(error).__name__, error.exit_code, str(error))
    return Outcome("failed", type(error).__name__, 1, f"a fault of caskeeper: {error!r}"[:1000])


def transferred(result: object) -> int:
    """How many bytes a result says that went to or came from remotes."""
    if not isinstance(result, dict):
        return 0
    parts = result.get("remotes")
    each = [result, *(parts if isinstance(parts, (list, tuple)) else ())]
    found = [one.get("bytes") for one in each if isinstance(one, dict)]
    return sum(one for one in found if isinstance(one, int))
