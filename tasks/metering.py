"""What a job's end says in numbers: for this worker's `/metrics`, and for the totals of the whole fleet.

Everything comes out of results and errors as they are answered to the client, so the numbers and the
answers cannot disagree, and no verb has to count. Evictions are no part of it: any write may need some, and
not only a job makes them. Whoever gives their room back counts them (``worker.services.cleanup``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery import signals

from caskeeper.contract import REQUESTS
from caskeeper.coordination.events import HEALED, REFUSED, WITHDRAWN, origin
from caskeeper.errors import CaskeeperError
from worker.telemetry.happenings import REASONS
from worker.telemetry.log import Log
from worker.telemetry.metrics import Sample, note, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caskeeper.coordination.stats import Stats

log = Log("caskeeper.metrics")

#: What a job's end is called. What is put back or tried again has not ended.
_OUTCOMES = {
    "SUCCESS": "done",
    "FAILURE": "failed",
    "RETRY": "retried",
    "REJECTED": "put-back",
    "IGNORED": "elsewhere",
}
#: The error of what no class of ours tells.
BUG = "bug"
#: In place of a remote for what comes from a folder of this host.
_LOCAL = ""


class Account:
    """A job's end: ``samples`` for this worker, ``totals`` to add for the fleet, and what is so ``now``."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.totals: dict[str, int] = {}
        self.now: dict[str, int] = {}

    def total(self, field: str, value: int = 1) -> None:
        """Add to a total of the fleet."""
        self.totals[field] = self.totals.get(field, 0) + value

    def moved(self, direction: str, remote: str, *, size_bytes: int, blobs: int = 0) -> None:
        """Content came or went."""
        if size_bytes or blobs:
            labels = {"direction": direction, "remote": origin(remote)}
            self.samples.append(sample("caskeeper_bytes", size_bytes, **labels))
            self.samples.append(sample("caskeeper_blobs", blobs, **labels))
            self.total(f"bytes {direction} {origin(remote)}".rstrip(), size_bytes)
            self.total(f"blobs {direction} {origin(remote)}".rstrip(), blobs)


def account_of(task: str, state: str, answer: Any, seconds: float) -> Account:
    """A job of this task ended in this state with this answer: a result as JSON, or an error."""
    made = Account()
    outcome = _OUTCOMES.get(state, state.lower())
    made.samples.append(sample("caskeeper_task_seconds", seconds, task=task, outcome=outcome))
    if outcome in {"done", "failed"}:
        made.total(f"jobs {task} {outcome}")
        made.total(f"ms {task}", int(seconds * 1000))
    if outcome == "failed":
        error = type(answer).__name__ if isinstance(answer, CaskeeperError) else BUG
        made.samples.append(sample("caskeeper_errors", task=task, error=error))
        made.total(f"errors {error}")
    elif outcome == "done" and isinstance(answer, dict):
        reader = _READERS.get(task)
        if reader is not None:
            reader(made, answer)
    return made


def _pulled(made: Account, answer: Mapping[str, Any]) -> None:
    if answer.get("cached") or answer.get("pulled"):
        source = "remote" if answer.get("pulled") else "local"
        made.samples.append(sample("caskeeper_hits", source=source))
        made.total(f"hits {source}")
    else:
        made.samples.append(sample("caskeeper_misses"))
        made.total("misses")
    _came(made, answer)


def _came(made: Account, answer: Mapping[str, Any]) -> None:
    remote = str(answer.get("remote") or "")
    made.moved("pulled", remote, size_bytes=_whole(answer, "bytes"), blobs=_whole(answer, "blobs"))


def _pushed(made: Account, answer: Mapping[str, Any]) -> None:
    for one in answer.get("remotes") or ():
        url, outcome = str(one.get("url", "")), str(one.get("outcome", ""))
        made.samples.append(sample("caskeeper_pushes", remote=origin(url), outcome=outcome))
        made.total(f"pushes {outcome}")
        made.moved("pushed", url, size_bytes=_whole(one, "bytes"), blobs=_whole(one, "blobs"))


def _committed(made: Account, answer: Mapping[str, Any]) -> None:
    made.moved("committed", _LOCAL, size_bytes=_whole(answer, "added_bytes"))


def _counted(made: Account, answer: Mapping[str, Any]) -> None:
    made.now["drift_bytes"] = _whole(answer, "estimate_bytes") - _whole(answer, "used_bytes")


def _verified(made: Account, answer: Mapping[str, Any]) -> None:
    for kind, count in (answer.get("counts") or {}).items():
        made.samples.append(sample("caskeeper_findings", count, kind=str(kind)))
        made.total(f"findings {kind}", int(count))


_READERS: dict[str, Callable[[Account, Mapping[str, Any]], None]] = {
    "artifacts.pull": _pulled,
    "artifacts.pull_tree": _came,
    "artifacts.push": _pushed,
    "artifacts.push_directory": _pushed,
    "artifacts.push_message": _pushed,
    "artifacts.commit": _committed,
    "cache.compute_size": _counted,
    "cache.verify": _verified,
}


def zeros() -> list[Sample]:
    """What an alarm looks at, at nothing: of a series that begins at 1 no increase is seen."""
    return [
        *(sample("caskeeper_errors", 0, task=task, error=BUG) for task in REQUESTS),
        *(sample("caskeeper_hits", 0, source=source) for source in ("local", "remote")),
        *(sample("caskeeper_evictions", 0, reason=reason) for reason in REASONS),
        *(sample("caskeeper_ref_events", 0, what=what) for what in (WITHDRAWN, HEALED, REFUSED)),
    ]


def _whole(answer: Mapping[str, Any], name: str) -> int:
    return int(answer.get(name) or 0)


def meter_jobs(stats: Callable[[], Stats]) -> None:
    """Account for every job that ends in a process forked from this one.

    ``stats`` is called there. Trouble with the totals is a line for those who search: a job has ended, and
    its client knows.
    """
    begun: dict[str, float] = {}

    def begins(task_id: str = "", **_: Any) -> None:
        begun[task_id] = time.monotonic()

    def ended(task_id: str = "", task: Any = None, retval: Any = None, state: str = "", **_: Any) -> None:
        seconds = time.monotonic() - begun.pop(task_id, time.monotonic())
        if task is None or task.name not in REQUESTS:
            return
        account = account_of(task.name, state or "", retval, seconds)
        note(account.samples)
        if account.totals or account.now:
            try:
                stats().add(account.totals, now=account.now)
            except CaskeeperError as trouble:
                log.debug("totals not added", job=task_id, error=trouble)

    signals.task_prerun.connect(begins, weak=False)
    signals.task_postrun.connect(ended, weak=False)
