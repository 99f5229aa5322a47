"""What delivery needs beside the jobs' records: the heartbeat (queue.md 2.3), and what one does for all.

These keys have a TTL: losing one costs a second execution of an idempotent verb (I8), no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.coordination.jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.coordination.scripts import Scripts

_DAY_MS = 24 * 60 * 60 * 1000


class HeldKeys(NamedTuple):
    """The transport's own keys of what workers hold: a sorted set of delivery tags, and a hash."""

    tags: str
    messages: str


class Flights:
    """What workers do together. ``jobs`` are the records. Every method raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self.jobs = Jobs(scripts.connection)

    def take(self, what: str, token: str, *, ttl_s: float) -> bool:
        """This token sees to something for so long; False: another one does."""
        key = self._scripts.keys.once(what)
        return bool(self._scripts.run_plain("flight_take", key, token, round(ttl_s * 1000))[0] == "OK")

    def release(self, what: str, token: str) -> bool:
        """Others may see to it; False: this token did not any more."""
        key = self._scripts.keys.once(what)
        return bool(self._scripts.run_plain("flight_release", key, token)[0] == "OK")

    def beat(
        self, holder: str, number: int, messages: Mapping[str, str], *, answered: int, transport: HeldKeys
    ) -> int:
        """What a worker holds, by delivery tag, is in good hands (queue.md 2.3); how many had been lost.

        The holder counts its beats; ``answered`` is the last one that it knows of. Where Redis does not, it
        was emptied or is an older one, and messages that are not there any more come back, in the form in
        which the transport keeps them. No acknowledged message does. The transport compares with the
        workers' clocks, so this writes such a time too.
        """
        pairs = [word for pair in messages.items() for word in pair]
        keys = (self._scripts.keys.beat(holder), transport.tags, transport.messages)
        answer = self._scripts.run_plain(
            "flight_beat", keys, answered, number, repr(time.time()), _DAY_MS, *pairs
        )
        return int(answer[1])
