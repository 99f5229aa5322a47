"""Leaving jobs that have not ended: what nobody else waits for is cancelled (interface section 1)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from caskeeper.coordination.jobs import Withdrawal
from caskeeper.errors import CaskeeperError
from tasks.cli import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.job import Job

#: So long a leaving caller bears with a Redis that does not answer.
PATIENCE_S = 3.0


@dataclass
class Left:
    """What became of jobs that this caller has left, by their ids.

    ``over``: they had ended. ``cancelled``: at once. ``stopping``: where they run. ``awaited``: how many
    others wait, so they go on. ``untold``: Redis did not hear of it.
    ``lost``: Redis has no record of it any more, and it has not ended.
    """

    over: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    stopping: list[str] = field(default_factory=list)
    awaited: dict[str, int] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """For people; "": there is nothing to say."""
        told = [f"cancelled: {' '.join(self.cancelled)}"] if self.cancelled else []
        told += [f"being ended: {' '.join(self.stopping)}"] if self.stopping else []
        if self.awaited:
            told.append(f"others wait, so it goes on: {' '.join(self.awaited)}")
        if self.untold:
            told.append(f"Redis does not answer, so it goes on: {' '.join(self.untold)}")
        if self.lost:
            told.append(f"Redis has lost the record, so it goes on: {' '.join(self.lost)}")
        return f"no longer waiting; {'; '.join(told)}" if told else ""

    def fate(self) -> str:
        """What becomes of the only one, for people."""
        if self.cancelled:
            return "it was cancelled, for nobody else waits for it"
        if self.stopping:
            return "it is being ended, for nobody else waits for it"
        if self.untold:
            return "Redis could not be told, so it goes on"
        if self.lost:
            return "Redis has lost its record, so it goes on; wait again or allow more time"
        others = sum(self.awaited.values())
        wait = "waits" if others == 1 else "wait"
        return (
            f"it goes on, for {wording.count(others, 'other')} {wait} for it; wait again or allow more time"
        )


def withdraw(jobs: Sequence[Job[Any]], *, patience_s: float = PATIENCE_S) -> Left:
    """Wait for none of these any more. Never raises, and takes no longer than ``patience_s``."""
    left = Left()
    waiting = dict(enumerate(jobs))  # two of them may be one job, each with a caller of its own
    guard = threading.Lock()

    def leave() -> None:
        for number, job in enumerate(jobs):
            try:
                done = job.withdraw()
                if done.word == "unknown" and job.done:
                    done = Withdrawal("over")  # so long ago that its record has gone
            except CaskeeperError:
                return  # the next one would not be heard either
            with guard:
                if waiting.pop(number, None) is None:
                    return  # nobody looks any more
                _note(left, job.id, done.word, done.others)

    thread = threading.Thread(target=leave, name="withdrawal", daemon=True)
    thread.start()
    thread.join(patience_s)
    with guard:
        left.untold += [job.id for job in waiting.values()]
        waiting.clear()
    return left


def _note(left: Left, job_id: str, word: str, others: int) -> None:
    if word == "waited":
        left.awaited[job_id] = others
    else:
        lists = {"ended": left.cancelled, "running": left.stopping, "unknown": left.lost}
        lists.get(word, left.over).append(job_id)
