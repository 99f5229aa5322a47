"""What is written down about one job, for `jobs` and `job ID`: who, what, when, where, outcome, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

State = Literal["queued", "running", "retrying", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
#: States in which nothing more happens to a job.
ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled"})


class JobRecord(NamedTuple):
    """One job. Times are Redis TIME in ms, 0 = not yet; ``exit_code`` and ``error`` are those of a failure.

    ``starts``: how often it began and was not put back; ``retries``: how often it was tried again after
    trouble of its own. ``cancelled_by``: who asked for its end, '' = nobody. ``waiters``: how many wait for
    it now, counted only where one record is read. ``alive``: an execution renews its lease.
    """

    id: str
    task: str
    subject: str
    lane: str
    who: str
    sent_ms: int
    flight: str
    state: State
    worker: str
    pid: int
    begun_ms: int
    ended_ms: int
    starts: int
    retries: int
    error: str
    exit_code: int
    sentence: str
    bytes: int
    cancelled_by: str
    waiters: int
    alive: bool

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; the flight is nobody's business."""
        return {name: value for name, value in self._asdict().items() if name != "flight"}

    @classmethod
    def of(cls, words: Sequence[str]) -> Self:
        """What a script answered: names and values in turn. Whatever is missing or damaged is empty."""
        told = dict(zip(words[::2], words[1::2], strict=False))
        state = told.get("state", "")
        texts = ("id", "task", "subject", "lane", "who", "flight", "worker", "error", "sentence")
        numbers = ("sent_ms", "pid", "begun_ms", "ended_ms", "starts", "retries", "exit_code", "bytes")
        given: dict[str, Any] = {name: told.get(name, "") for name in texts}
        given |= {name: _number(told.get(name, "")) for name in (*numbers, "waiters")}
        return cls(
            **given,
            state=state if state in STATES else "queued",
            cancelled_by=told.get("cancel_who", ""),
            alive=told.get("alive") == "1",
        )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0
