"""What becomes of refs, in numbers: heard where it is noted for `explain`, whichever verb did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.coordination.events import EVICTED
from worker.telemetry.metrics import Sample, note, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.events import Event

#: A word of the sentence that says why a cleanup runs, and the reason it stands for.
_REASONS = (
    ("inodes", "inodes"),
    ("reserved-disk-space", "disk"),
    ("did not fit", "room"),
    ("used and reserved are above", "watermark"),
    ("asked for", "asked"),
)
OTHER = "other"
REASONS = (*(reason for _, reason in _REASONS), OTHER)


def reason_of(why: str) -> str:
    """Why a ref was evicted, as one of a few words."""
    return next((reason for words, reason in _REASONS if words in why), OTHER)


def hear(events: Sequence[Event]) -> None:
    """Count them. Never raises."""
    note(samples_of(events))


def samples_of(events: Sequence[Event]) -> list[Sample]:
    """Refs of one tree free its bytes once, together."""
    freed: dict[tuple[str, str], int] = {}
    found: list[Sample] = []
    for event in events:
        if event.what == EVICTED:
            reason = reason_of(event.why)
            found.append(sample("caskeeper_evictions", reason=reason))
            freed[event.before or event.ref, reason] = event.freed_bytes
        elif event.what:
            found.append(sample("caskeeper_ref_events", what=event.what))
    found += [
        sample("caskeeper_evicted_bytes", size_bytes, reason=reason)
        for (_, reason), size_bytes in freed.items()
        if size_bytes
    ]
    return found
