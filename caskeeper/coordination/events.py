"""What became of refs: a capped log for people who ask weeks later (`explain`). A hint (I6): it may be lost.

One Redis stream for the volume, about ``KEPT`` entries. It has no epoch, so it outlives the loss of the
shared state, and nothing that decides reads it. Noting never fails a verb. No entry holds credentials.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.coordination.connection import without_credentials
from caskeeper.errors import CaskeeperError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from caskeeper.coordination.scripts import Scripts

log = logging.getLogger(__name__)

PUBLISHED, BOUND, EVICTED, REMOVED = "published", "bound", "evicted", "removed"
WITHDRAWN, REFUSED, HEALED = "withdrawn", "refused", "healed"
#: What each means for the recency of its ref; of the others nothing. "" is only a use, and no entry.
_RECENCY = {
    "": "touch",
    PUBLISHED: "touch",
    BOUND: "touch",
    EVICTED: "forget",
    REMOVED: "forget",
    WITHDRAWN: "forget",
}
#: After these the ref is not here any more.
GONE = frozenset({EVICTED, REMOVED, WITHDRAWN})

#: About so many entries are kept, the newest ones: some 15 MB.
KEPT = 50_000
#: Entries per script: bounds the time one command keeps the server from others.
_GROUP = 1000
#: Entries looked at per script, when the log is read.
_PAGE = 2000
#: A reason may quote an error; more than this of it helps nobody.
_LONGEST = 1000

_in_json = json.JSONEncoder(separators=(",", ":")).encode
_job: ContextVar[str] = ContextVar("caskeeper_events_job", default="")


class Event(NamedTuple):
    """One entry. ``root`` and ``before`` are what the ref names from then on, and what it named until then.

    ``freed_bytes``: so much becomes free with it, and with those that went for the same reason and shared it.
    ``by`` is the operation or the cleanup, ``job`` the one it ran for; ``used_ms`` the last use that was
    known of what was evicted; ``at_ms`` and ``used_ms`` are Redis TIME.
    """

    what: str
    ref: str
    why: str = ""
    by: str = ""
    root: str = ""
    before: str = ""
    freed_bytes: int = 0
    used_ms: int = 0
    job: str = ""
    host: str = ""
    at_ms: int = 0


@contextmanager
def on_behalf_of(job: str) -> Iterator[None]:
    """What is noted inside, by this thread, was done for the job with this id."""
    token = _job.set(job)
    try:
        yield
    finally:
        _job.reset(token)


class Events:
    """The event log of one volume."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._keys = (scripts.keys.recency, scripts.keys.events)
        #: hears in this process of everything that is noted; never raises
        self.heard: Callable[[Sequence[Event]], None] = lambda _events: None

    def note(self, what: str, refs: Sequence[str], *, why: str = "", by: str = "") -> None:
        """The same became of all ``refs``; see ``note_all``."""
        self.note_all([Event(what, ref, why=why, by=by) for ref in refs])

    def bound(self, before: Mapping[str, str], *, root: str, by: str, why: str = "") -> None:
        """The refs, each with what it named until now ("" = nothing), name ``root`` and were used now.

        Never raises. One that names the same as before is no news: only its recency is kept.
        """
        changed = [
            Event(BOUND if was else PUBLISHED, ref, why=why, by=by, root=root, before=was)
            for ref, was in before.items()
            if was != root
        ]
        self.note_all([*changed, *(Event("", ref) for ref, was in before.items() if was == root)])

    def note_all(self, events: Sequence[Event]) -> None:
        """Note what became of refs, and with it their recency. Never raises; trouble is a line in the log.

        ``at_ms``, ``host`` and ``job`` are filled in here.
        """
        self.heard(events)
        job, host = _job.get(), f"{socket.gethostname()}:{os.getpid()}"
        try:
            for recency in dict.fromkeys(_RECENCY.get(event.what, "") for event in events):
                same = [event for event in events if _RECENCY.get(event.what, "") == recency]
                for n in range(0, len(same), _GROUP):
                    words = [
                        word
                        for event in same[n : n + _GROUP]
                        for word in self._words(event, job=job, host=host)
                    ]
                    self._scripts.run_plain("note", self._keys, recency, KEPT, *words)
        except CaskeeperError as trouble:
            log.warning("event not noted", extra={"ref": events[0].ref, "reason": str(trouble)})

    def of(self, ref: str, limit: int = 100) -> list[Event]:
        """What became of ``ref``, newest first. CoordinatorUnavailable."""
        found: list[Event] = []
        newest = "+"
        while newest and len(found) < limit:
            answer = self._scripts.run_plain("events_of", self._keys[1], ref, newest, _PAGE)
            _, newest, _oldest, *flat = answer
            rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            found += [event for row in rows if (event := _read(ref, *row)) is not None]
        return found[:limit]

    def begins_ms(self) -> int:
        """When the oldest entry that is kept was noted; 0: there is none. CoordinatorUnavailable."""
        _, _newest, oldest, *_ = self._scripts.run_plain("events_of", self._keys[1], "", "+", 1)
        return int(str(oldest).partition("-")[0] or 0)

    def _words(self, event: Event, *, job: str, host: str) -> tuple[str, str, str]:
        filled = event._replace(why=event.why[:_LONGEST], job=event.job or job, host=event.host or host)
        more = {name: value for name, value in zip(Event._fields, filled, strict=True) if value}
        for known in ("what", "ref", "at_ms"):
            more.pop(known, None)
        return event.ref, event.what, _in_json(more)


def origin(url: str) -> str:
    """Where something came from, as it may be written down."""
    return without_credentials(url) if "://" in url else url


def _read(ref: str, entry_id: str, what: str, more: str) -> Event | None:
    """None for what nobody of us wrote."""
    at_ms = entry_id.partition("-")[0]
    try:
        known = {name: value for name, value in json.loads(more).items() if name in Event._fields}
        event = Event(what, ref, **{**known, "at_ms": int(at_ms)})
    except (ValueError, TypeError, AttributeError):
        return None
    plain = zip(event, Event("", ""), strict=True)
    return event if all(type(value) is type(default) for value, default in plain) else None
