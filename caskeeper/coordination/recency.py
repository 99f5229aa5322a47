"""When refs were last used: a hint that orders evictions (I6), never a reason to keep or remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.scripts import Scripts

#: Refs per command: bounds the time one command keeps the server from others.
_GROUP = 5000


class Recency:
    """Last use per ref, by Redis TIME. Every method raises CoordinatorUnavailable.

    What is noted in the event log is touched or forgotten there, in the same round trip.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._key = scripts.keys.recency

    def touch(self, refs: Sequence[str]) -> None:
        """The refs were used now."""
        for n in range(0, len(refs), _GROUP):
            self._scripts.run_plain("recency_touch", self._key, *refs[n : n + _GROUP])

    def scores(self, refs: Sequence[str]) -> list[int | None]:
        """Per ref, in order: when it was last used, in ms since the epoch of Unix; None = not known."""
        found: list[int | None] = []
        for n in range(0, len(refs), _GROUP):
            _, *scores = self._scripts.run_plain("recency_scores", self._key, *refs[n : n + _GROUP])
            found += [None if score == "" else int(float(score)) for score in scores]
        return found

    def forget(self, refs: Sequence[str]) -> None:
        """The refs are gone."""
        for n in range(0, len(refs), _GROUP):
            self._scripts.connection.command("ZREM", self._key, *refs[n : n + _GROUP])
