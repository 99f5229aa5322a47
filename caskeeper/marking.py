"""How a session marks (safety.md section 4): first the mark, then the look. The order is the protection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from caskeeper.artifact import Element, Ref
from caskeeper.coordination import StateLost
from caskeeper.presence import is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caskeeper.coordination import Coordination
    from caskeeper.layout import Layout

T = TypeVar("T")

#: How long marking waits while workers recover from a loss of Redis' state.
RECOVERY_WAIT_S = 60.0
_RETRY_S = 0.25


class Marking:
    """Marks for one session, whoever keeps it alive. ``over`` is set by the owner, to stop waiting."""

    def __init__(
        self, coordination: Coordination, layout: Layout, session_id: str, *, wait_s: float = RECOVERY_WAIT_S
    ) -> None:
        self.id = session_id
        self.over = threading.Event()
        self._coordination = coordination
        self._layout = layout
        self._wait_s = wait_s

    def open(self, label: str, life_s: float | None) -> None:
        """The session begins, or goes on. Raises StateLost, CoordinatorUnavailable, InvalidRequest."""
        sessions = self._coordination.sessions
        self.when_ready(lambda: sessions.open(self.id, label=label, life_s=life_s))

    def mark(self, keys: Sequence[str], refs: Sequence[Ref], *, anew: bool) -> tuple[Ref, ...]:
        """Require ``keys``; which of ``refs`` are here, not condemned, and so protected from now on.

        They count as used now (AC-27, D-29). ``anew``: as for ``Sessions.require``, whose LeaseLost it
        raises; also StateLost, CoordinatorUnavailable, VolumeFailed.
        """
        sessions = self._coordination.sessions
        condemned = self.when_ready(lambda: sessions.require(self.id, keys, anew=anew))
        present = tuple(ref for ref in refs if ref.key not in condemned and is_here(self._layout, ref))
        if present:
            self._coordination.recency.touch([str(ref) for ref in present])
        return present

    def when_ready(self, ask: Callable[[], T]) -> T:
        """The answer, when need be after the workers' recovery of Redis' state (safety.md section 7)."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return ask()
            except StateLost:
                if time.monotonic() >= deadline or self.over.wait(_RETRY_S):
                    raise


def refs_of(wanted: Iterable[Element | Ref | str]) -> tuple[Ref, ...]:
    """The refs of what is required, each once; none for an element whose keys are still unknown (AC-28).

    Raises InvalidRequest.
    """
    return tuple(dict.fromkeys(ref for item in wanted for ref in _refs(item)))


def _refs(item: Element | Ref | str) -> tuple[Ref, ...]:
    if isinstance(item, Element):
        return item.refs
    return (Ref.parse(item) if isinstance(item, str) else Ref.of(*item),)
