"""What coordination answers with: frozen values and one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from caskeeper.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Sequence


class StateLost(Busy):
    """The shared state is gone, of another epoch, or still being recovered (safety.md section 7).

    A worker recovers it under the maintenance lease; everybody else waits and tries again. What
    leaves the process is a Busy: nobody outside can do more about it.
    """

    template = "coordination state lost: {what}"
    default_way_out = "a worker recovers it by itself; try again shortly"

    def to_json(self) -> dict[str, object]:
        """As Busy, the nearest class that other programs know."""
        return {**super().to_json(), "error": Busy.__name__}


class State(NamedTuple):
    """The shared state as a whole. ``ready`` and ``known`` are False while it is lost."""

    epoch: str | None
    lost: bool
    ready: bool  # operations and sessions may register
    known: bool  # the size was counted in this epoch
    evict_from_ms: int  # Redis TIME before which nothing may be condemned
    now_ms: int

    @classmethod
    def of(cls, answer: Sequence[Any]) -> State:
        """What the script ``state`` answered."""
        _, epoch, lost, ready, known, evict_from_ms, now_ms, *_ = answer
        return cls(str(epoch) or None, lost == 1, ready == 1, known == 1, int(evict_from_ms), int(now_ms))


class Usage(NamedTuple):
    """The size estimate (safety.md section 6); an upper bound of the disk once ``known``.

    ``converted_bytes``: reservations of dead operations that were counted as used since the last recount,
    though not all of them was written, and what is left of those that ended under somebody's work.
    """

    used_bytes: int
    reserved_bytes: int
    added_total_bytes: int
    known: bool
    converted_bytes: int = 0


class OperationRecord(NamedTuple):
    """One registered operation; expired or not, it is alive until fenced."""

    id: str
    verb: str
    subject: str
    host: str
    started_ms: int
    expires_ms: int
    reserved_bytes: int
    dying: bool
    claims: tuple[str, ...]  # `root:<hash>` and `ref:<name>`


class SessionRecord(NamedTuple):
    """One live session; ``keys`` is how many it requires."""

    id: str
    label: str
    expires_ms: int
    keys: int


class LeaseHolder(NamedTuple):
    """Who removes or recounts at this moment."""

    holder: str
    purpose: str
    expires_ms: int


class Grant(NamedTuple):
    """The maintenance lease. ``lost``: the state is not ready, so the holder has to recover it first."""

    epoch: str
    lost: bool
