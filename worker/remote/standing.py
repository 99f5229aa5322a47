"""Which ref index of a remote is used: what its probes answered, weighed (wire-protocols section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from worker import status
from worker.remote import methods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.remote.failure import CallFailed
    from worker.remote.methods import Method

REFUSED = frozenset({status.PERMISSION_DENIED, status.UNAUTHENTICATED})
#: A call without URIs is invalid: the method is there.
_PRESENT = frozenset({status.OK, status.INVALID_ARGUMENT})
_NO_UPDATES = "the server does not allow push"

#: In the order in which they are preferred, with the names of their services.
INDEXES = {
    "remote-asset": "Remote Asset",
    "reference-storage": "ReferenceStorage",
    "action-cache": "ActionCache",
}


class Answer(NamedTuple):
    """What one probe was answered."""

    method: Method[Any, Any]
    response: Any
    failure: CallFailed | None

    @property
    def code(self) -> int:
        return self.failure.code if self.failure else status.OK

    @property
    def refusal(self) -> str:
        return f"{self.method.name} answered {status.name_of(self.code)}"

    def trouble(self, url: str) -> Exception:
        """What to raise for a failed probe: CallFailed when asking again may help, else the error.

        A token that was refused may be another one by now.
        """
        assert self.failure is not None
        again = self.failure.transient or self.code == status.UNAUTHENTICATED
        return self.failure if again else self.failure.error(self.method, url)


class Standing(NamedTuple):
    """How a remote stands as one kind of index. Refusals as in Capabilities."""

    protocol: str = ""
    refusal: str = ""
    binding_refusal: str = ""


def choose(answers: Mapping[str, Answer], wanted: str, *, url: str) -> Standing:
    """The index ``wanted``, or with ``auto`` the first that can be read and written, or else read.

    One that refuses us or is out of order is passed over, and its error raised when no other is left. A
    failure that may be over in a moment is raised at once: what was bound there is not looked for
    elsewhere (I10). See ``Answer.trouble``.
    """
    standings = []
    troubled: Answer | None = None
    for index in INDEXES if wanted == "auto" else (wanted,):
        answer = answers[_FIRST[index].path]
        if answer.failure and answer.failure.transient:
            raise answer.trouble(url)
        if answer.code == status.UNIMPLEMENTED:
            continue
        if answer.code not in _TOLERATED[index]:
            troubled = troubled or answer
            continue
        standings.append(Standing(index, binding_refusal=_binding_refusal(index, answers)))
        if not standings[-1].binding_refusal:
            return standings[-1]
    if standings:
        return standings[0]
    if troubled is not None:
        raise troubled.trouble(url)
    none = f"it has none of {', '.join(INDEXES.values())}" if wanted == "auto" else ""
    refusal = none or f"it has no {INDEXES[wanted]}"
    return Standing(refusal=refusal, binding_refusal=refusal)


#: The probe that tells whether a service is there, and the answers that say it can be read.
_FIRST: Mapping[str, Method[Any, Any]] = {
    "remote-asset": methods.FETCH_BLOB,
    "reference-storage": methods.STATUS,
    "action-cache": methods.GET_ACTION_RESULT,
}
_TOLERATED = {
    "remote-asset": _PRESENT,
    # A server may hide whether it takes updates from those whom it lets read.
    "reference-storage": frozenset({status.OK}) | REFUSED,
    "action-cache": _PRESENT | {status.NOT_FOUND},
}


def _binding_refusal(index: str, answers: Mapping[str, Answer]) -> str:
    if index == "remote-asset":
        push = answers[methods.PUSH_BLOB.path]
        if push.code == status.UNIMPLEMENTED:
            return "it has no Remote Asset Push"
        if push.code == status.PERMISSION_DENIED:
            return _NO_UPDATES
        return "" if push.code in _PRESENT else push.refusal
    if index == "reference-storage":
        state = answers[methods.STATUS.path]
        if state.response is None:
            return state.refusal
        return "" if state.response.allow_updates else _NO_UPDATES
    server = answers[methods.GET_CAPABILITIES.path].response
    cache = None if server is None else server.cache_capabilities
    allowed = cache is not None and cache.action_cache_update_capabilities.update_enabled
    return "" if allowed else _NO_UPDATES
