"""Required-element locks (safety.md section 4): while a session lives, what it requires is not evicted.

Marking comes first, then the look at the volume: what is there and not condemned after the mark was set
is present *and* protected. A session ends when its block ends, or by expiry when its process dies.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Self, TypeVar

from caskeeper.artifact import Element, Ref
from caskeeper.coordination import StateLost
from caskeeper.errors import CaskeeperError, CoordinatorUnavailable, InvalidRequest
from caskeeper.presence import is_here

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from caskeeper.coordination import Coordination
    from caskeeper.layout import Layout

T = TypeVar("T")

#: How long marking waits while workers recover from a loss of Redis' state.
RECOVERY_WAIT_S = 60.0
_RETRY_S = 0.25


class Session:
    """An open session; renewed by a thread of its own at a third of its life."""

    def __init__(
        self,
        coordination: Coordination,
        layout: Layout,
        *,
        label: str = "",
        on_lost: Callable[[frozenset[Ref]], None] | None = None,
        wait_s: float = RECOVERY_WAIT_S,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._coordination = coordination
        self._layout = layout
        self._label = label
        self._on_lost = on_lost
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._promised: set[Ref] = set()
        self._lost: frozenset[Ref] = frozenset()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def lost(self) -> frozenset[Ref]:
        """Refs that ``require`` promised and that are no longer sure.

        The session was interrupted (Redis emptied, this process paused) and they are gone, or nobody can
        tell at present.
        """
        return self._lost

    def open(self) -> Self:
        """Begin. Raises CoordinatorUnavailable, StateLost."""
        self._when_ready(lambda: self._coordination.sessions.open(self.id, label=self._label))
        self._keeper = threading.Thread(target=self._keep, name=f"session {self.id}", daemon=True)
        self._keeper.start()
        return self

    def close(self) -> None:
        """End the protection now. A Redis that does not answer lets it expire."""
        self._over.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
        try:
            self._coordination.sessions.close(self.id)
        except (CoordinatorUnavailable, StateLost):
            return  # the end of a build must not fail on this: the stored expiry ends the session

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require(self, *wanted: Element | Ref | str) -> tuple[Ref, ...]:
        """Protect elements from now on; answers the refs of theirs that are here and now protected.

        Both keys of an element protect every ref that carries them, whatever its project. What is absent
        now is protected as soon as somebody publishes it. Raises InvalidRequest, StateLost,
        CoordinatorUnavailable, VolumeFailed.
        """
        if self._over.is_set():
            raise InvalidRequest("this session is closed", f"session {self.id}", "open a new one")
        refs = tuple(dict.fromkeys(ref for item in wanted for ref in _refs(item)))
        if not refs:
            return ()
        keys = {ref.key for ref in refs}
        with self._lock:
            # Remembered first: should the answer be lost on the way, the keeper marks them all the same.
            self._keys |= keys
            present = self._mark(sorted(keys), refs)
            self._promised |= set(present)
        if present:
            self._coordination.recency.touch([str(ref) for ref in present])
        return present

    def _mark(self, keys: list[str], refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
        """Mark, then look: the order is the protection."""
        condemned = self._when_ready(lambda: self._coordination.sessions.require(self.id, keys))
        return tuple(ref for ref in refs if ref.key not in condemned and is_here(self._layout, ref))

    def _when_ready(self, ask: Callable[[], T]) -> T:
        """The answer, when need be after the workers' recovery of Redis' state (safety.md section 7)."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return ask()
            except StateLost:
                if time.monotonic() >= deadline or self._over.wait(_RETRY_S):
                    raise

    def _keep(self) -> None:
        """Renew; after a loss mark everything again and believe only the new answer."""
        life_s = self._coordination.leases.session_s
        pause = life_s / 3
        renewed = time.monotonic()
        while not self._over.wait(pause):
            asked = time.monotonic()
            try:
                if not self._coordination.sessions.renew(self.id) or asked - renewed >= life_s:
                    self._mark_again()
                renewed, pause = asked, life_s / 3
            except CaskeeperError:
                # Nobody listens to a thread. After a whole life without a renewal nothing that was
                # promised is sure, and `lost` says so until a new answer has come.
                pause = min(1.0, life_s / 3)
                if time.monotonic() - renewed >= life_s:
                    self._tell(frozenset(self._promised))

    def _mark_again(self) -> None:
        with self._lock:
            self._when_ready(lambda: self._coordination.sessions.open(self.id, label=self._label))
            promised = tuple(sorted(self._promised))
            present = self._mark(sorted(self._keys), promised) if self._keys else ()
            lost = frozenset(promised) - set(present)
        self._tell(lost)

    def _tell(self, lost: frozenset[Ref]) -> None:
        news = lost - self._lost
        self._lost = lost
        if news and self._on_lost is not None:
            self._on_lost(news)


def _refs(item: Element | Ref | str) -> tuple[Ref, ...]:
    if isinstance(item, Element):
        return item.refs
    return (Ref.parse(item) if isinstance(item, str) else Ref.of(*item),)
