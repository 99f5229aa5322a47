"""What is counted, under which names (interface section 6), and the way of a number to whoever tells it.

A process that works calls ``note``; it costs a few microseconds, never waits and never fails. Where the
numbers go is set once: in a worker through a ``Pipe`` to the process that answers ``/metrics``, for its
children come and go; in a server straight into the registry. Where nobody listens they go nowhere.
"""

from __future__ import annotations

import json
import os
import select
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

COUNTER, HISTOGRAM, GAUGE = "counter", "histogram", "gauge"

#: Jobs last from a millisecond (a pull of what is here) to the maximum life of an operation.
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
#: Of a label's text; an address is shorter.
_LONGEST = 200
#: What a line of a pipe may have so that lines of several processes cannot mix.
_WHOLE = select.PIPE_BUF


class Metric(NamedTuple):
    """One name: what it is, what it says, and by what it is told apart."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Sample(NamedTuple):
    """One number for one name. A counter and a histogram add it, a gauge becomes it."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


METRICS: dict[str, Metric] = {
    # What this worker's children did.
    "caskeeper_hits": Metric(COUNTER, "Pulls that had their artifact: local or remote.", ("source",)),
    "caskeeper_misses": Metric(COUNTER, "Pulls that every remote answered, and none had the artifact."),
    "caskeeper_errors": Metric(COUNTER, "Jobs that failed, by the class of the error.", ("task", "error")),
    "caskeeper_bytes": Metric(COUNTER, "Bytes pulled, pushed, committed.", ("direction", "remote")),
    "caskeeper_blobs": Metric(COUNTER, "Blobs pulled, pushed.", ("direction", "remote")),
    "caskeeper_pushes": Metric(COUNTER, "What became of pushes at each remote.", ("remote", "outcome")),
    "caskeeper_task_seconds": Metric(
        HISTOGRAM, "How long jobs ran, by their end.", ("task", "outcome"), _SECONDS
    ),
    "caskeeper_evictions": Metric(COUNTER, "Refs evicted, by why the cleanup ran.", ("reason",)),
    "caskeeper_evicted_bytes": Metric(COUNTER, "Bytes that evictions freed.", ("reason",)),
    "caskeeper_ref_events": Metric(COUNTER, "What else became of refs.", ("what",)),
    "caskeeper_findings": Metric(COUNTER, "What `verify` found, by kind.", ("kind",)),
    # What a server was asked.
    "caskeeper_server_calls": Metric(COUNTER, "Calls that ended.", ("method", "code")),
    "caskeeper_server_call_seconds": Metric(HISTOGRAM, "How long calls took.", ("method",), _SECONDS),
    "caskeeper_server_bytes": Metric(COUNTER, "Bytes of content taken in and given out.", ("direction",)),
    # This worker at this moment.
    "caskeeper_worker_heartbeat_age_seconds": Metric(GAUGE, "Since the consumer's last sign of life."),
    "caskeeper_worker_renewed_age_seconds": Metric(GAUGE, "Since Redis last took what the worker writes."),
    "caskeeper_worker_begun": Metric(GAUGE, "Jobs begun since the worker started."),
    "caskeeper_worker_held": Metric(GAUGE, "Jobs this worker has reserved: running, or about to."),
    "caskeeper_worker_children": Metric(GAUGE, "Jobs it can run at the same time."),
    "caskeeper_worker_lane": Metric(GAUGE, "1: it serves this lane.", ("lane",)),
    # The fleet and its volume: the same from every process that tells it.
    "caskeeper_redis_up": Metric(GAUGE, "1: Redis answers."),
    "caskeeper_volume_up": Metric(GAUGE, "1: the volume is mounted and can be looked at."),
    "caskeeper_ready": Metric(GAUGE, "0: what Redis forgot is being recovered."),
    "caskeeper_size_known": Metric(GAUGE, "0: the used bytes are an upper bound until a recount."),
    "caskeeper_used_bytes": Metric(GAUGE, "Used on the volume, as estimated: never less than there is."),
    "caskeeper_reserved_bytes": Metric(GAUGE, "What running operations may still write."),
    "caskeeper_quota_bytes": Metric(GAUGE, "The quota; nothing is written above it."),
    "caskeeper_cleanup_above_bytes": Metric(GAUGE, "Above this a cleanup begins."),
    "caskeeper_protected_bytes": Metric(GAUGE, "Content under refs that pins or sessions keep."),
    "caskeeper_drift_bytes": Metric(GAUGE, "Estimate less recount at the last recount."),
    "caskeeper_disk_total_bytes": Metric(GAUGE, "The file system of the volume."),
    "caskeeper_disk_available_bytes": Metric(GAUGE, "Free on it."),
    "caskeeper_disk_reserved_bytes": Metric(GAUGE, "What `reserved-disk-space` keeps free of it."),
    "caskeeper_inodes": Metric(GAUGE, "Inodes of the file system; 0: it does not count them."),
    "caskeeper_inodes_free": Metric(GAUGE, "Free inodes."),
    "caskeeper_eviction_waits_seconds": Metric(GAUGE, "After a loss of Redis nothing goes for so long."),
    "caskeeper_cleanup_wanted": Metric(GAUGE, "1: a watermark is passed."),
    "caskeeper_maintenance_running": Metric(GAUGE, "1: somebody removes or recounts."),
    "caskeeper_sessions": Metric(GAUGE, "Open sessions."),
    "caskeeper_operations": Metric(GAUGE, "Running operations.", ("verb",)),
    "caskeeper_queue_queued": Metric(GAUGE, "Jobs that wait in a lane.", ("lane",)),
    "caskeeper_queue_taken": Metric(GAUGE, "Jobs that workers hold: reserved and running."),
    "caskeeper_queue_backlog": Metric(GAUGE, "Queued, reserved and running: what to scale by."),
    "caskeeper_breaker_open": Metric(GAUGE, "1: the remote is not asked at present.", ("remote",)),
}

_receiver: Callable[[Sequence[Sample]], None] | None = None


def send_to(receiver: Callable[[Sequence[Sample]], None] | None) -> None:
    """From now on every ``note`` of this process, and of those forked from it, goes to ``receiver``."""
    global _receiver  # noqa: PLW0603 -- like a logging handler: one for the process
    _receiver = receiver


def sample(name: str, value: float = 1.0, /, **labels: str) -> Sample:
    """A number for a name of METRICS, which says what labels it has."""
    return Sample(name, value, tuple(labels[label][:_LONGEST] for label in METRICS[name].labels))


def note(samples: Sequence[Sample]) -> None:
    """Tell some numbers. Never waits, never raises."""
    if _receiver is not None and samples:
        _receiver(samples)


class Pipe:
    """From many processes to one: lines that are whole or not there.

    Made before the fork. A reader that stands still or is gone costs numbers and nothing else: what does
    not fit is dropped.
    """

    def __init__(self) -> None:
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)

    def send(self, samples: Sequence[Sample]) -> None:
        """As ``note`` wants it."""
        for line in _lines(samples):
            try:
                os.write(self._writes, line)
            except (BlockingIOError, BrokenPipeError):
                return

    def only_write(self) -> None:
        """Called in the process that works, once the reader runs."""
        os.close(self._reads)

    def samples(self) -> Iterator[Sample]:
        """Called by the reader: every number, until all who write have ended."""
        os.close(self._writes)
        with open(self._reads, encoding="utf-8") as lines:
            for line in lines:
                for name, value, labels in json.loads(line):
                    yield Sample(name, value, tuple(labels))


def _lines(samples: Sequence[Sample]) -> Iterator[bytes]:
    """As few as there can be; a pipe takes up to _WHOLE bytes of one writer without another's between."""
    line = json.dumps(samples, separators=(",", ":")).encode() + b"\n"
    if len(line) <= _WHOLE:
        yield line
    elif len(samples) > 1:
        half = len(samples) // 2
        yield from _lines(samples[:half])
        yield from _lines(samples[half:])
