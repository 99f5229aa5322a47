"""Required-element locks (safety.md section 4): while a session lives, what it requires is not evicted.

Marking comes first, then the look at the volume: what is there and not condemned after the mark was set
is present *and* protected. ``Session`` is a block of one process, which renews it; a ``DetachedSession``
outlives its process and is known by its id, for the steps of a CI job.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

from caskeeper.coordination import StateLost
from caskeeper.coordination.sessions import over
from caskeeper.errors import CaskeeperError, CoordinatorUnavailable, InvalidRequest
from caskeeper.marking import RECOVERY_WAIT_S, Marking, refs_of
from caskeeper.presence import check_mounted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from caskeeper.artifact import Element, Ref
    from caskeeper.coordination import Coordination
    from caskeeper.layout import Layout


class Session:
    """An open session; renewed by a thread of its own.

    It ends when its block ends, or by expiry when its process dies. However long its life, it is renewed at
    a third of `leases: session`: after a loss of Redis' state nothing is evicted for about so long, and by
    then it must be back.
    """

    def __init__(
        self,
        coordination: Coordination,
        layout: Layout,
        *,
        label: str = "",
        life_s: float | None = None,
        on_lost: Callable[[frozenset[Ref]], None] | None = None,
        on_open: Callable[[], None] | None = None,
        wait_s: float = RECOVERY_WAIT_S,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._on_open = on_open
        self._coordination = coordination
        self._marking = Marking(coordination, layout, self.id, wait_s=wait_s)
        self._label = label
        self._own_life_s = life_s
        self._life_s = coordination.leases.session_s if life_s is None else life_s
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._promised: set[Ref] = set()
        self._lost: frozenset[Ref] = frozenset()
        self._over = self._marking.over
        self._keeper: threading.Thread | None = None

    @property
    def lost(self) -> frozenset[Ref]:
        """Refs that ``require`` promised and that are no longer sure.

        The session was interrupted (Redis emptied, this process paused) and they are gone, or nobody can
        tell at present.
        """
        return self._lost

    def open(self) -> Self:
        """Begin. Raises CoordinatorUnavailable, StateLost, InvalidRequest."""
        self._marking.open(self._label, self._own_life_s)
        self._keeper = threading.Thread(target=self._keep, name=f"session {self.id}", daemon=True)
        self._keeper.start()
        if self._on_open is not None:
            self._on_open()
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

        Both keys of an element protect every ref that carries them, whatever its project (AC-29). What is
        absent now is protected as soon as somebody publishes it. An element whose keys are not known yet
        is required again once they are (AC-28); nothing that was required is forgotten (AC-26). Raises
        InvalidRequest, StateLost, CoordinatorUnavailable, VolumeFailed.
        """
        if self._over.is_set():
            raise InvalidRequest("this session is closed", f"session {self.id}", "open a new one")
        refs = refs_of(wanted)
        if not refs:
            return ()
        keys = {ref.key for ref in refs}
        with self._lock:
            # Remembered first: should the answer be lost on the way, the keeper marks them all the same.
            self._keys |= keys
            present = self._marking.mark(sorted(keys), refs, anew=True)
            self._promised |= set(present)
        return present

    def _keep(self) -> None:
        """Renew; after a loss mark everything again and believe only the new answer."""
        regular = min(self._life_s, self._coordination.leases.session_s) / 3
        pause = regular
        renewed = time.monotonic()
        while not self._over.wait(pause):
            asked = time.monotonic()
            try:
                if not self._coordination.sessions.renew(self.id) or asked - renewed >= self._life_s:
                    self._mark_again()
                renewed, pause = asked, regular
            except CaskeeperError:
                # Nobody listens to a thread. After a whole life without a renewal nothing that was
                # promised is sure, and `lost` says so until a new answer has come.
                pause = min(1.0, regular)
                if time.monotonic() - renewed >= self._life_s:
                    self._tell(frozenset(self._promised))

    def _mark_again(self) -> None:
        with self._lock:
            self._marking.open(self._label, self._own_life_s)
            promised = tuple(sorted(self._promised))
            present = self._marking.mark(sorted(self._keys), promised, anew=True) if self._keys else ()
            lost = frozenset(promised) - set(present)
        self._tell(lost)

    def _tell(self, lost: frozenset[Ref]) -> None:
        news = lost - self._lost
        self._lost = lost
        if news and self._on_lost is not None:
            self._on_lost(news)


class DetachedSession:
    """A session that nobody renews in the background: every ``require`` and ``renew`` gives it one more life.

    Once it is over, by its end or by a loss of Redis' state, every call says so (LeaseLost): whoever comes
    next does not know what the steps before had required. All raise CoordinatorUnavailable, StateLost and,
    for an id that cannot be one, InvalidRequest.
    """

    def __init__(
        self,
        coordination: Coordination,
        layout: Layout,
        session_id: str | None = None,
        *,
        on_open: Callable[[], None] | None = None,
        wait_s: float = RECOVERY_WAIT_S,
    ) -> None:
        self.id = uuid.uuid4().hex if session_id is None else session_id
        self._on_open = on_open
        self._coordination = coordination
        self._layout = layout
        self._marking = Marking(coordination, layout, self.id, wait_s=wait_s)

    def open(self, *, label: str = "", life_s: float | None = None) -> Self:
        """Begin; it lives for ``life_s``, by default `leases: session`, unless it is used or renewed."""
        self._marking.open(label, life_s)
        if self._on_open is not None:
            self._on_open()
        return self

    def require(self, *wanted: Element | Ref | str) -> tuple[Ref, ...]:
        """As ``Session.require``. Raises LeaseLost when the session is over, ConfigInvalid, VolumeFailed."""
        check_mounted(self._layout)
        refs = refs_of(wanted)
        keys = sorted({ref.key for ref in refs})
        return self._marking.mark(keys, refs, anew=False)

    def renew(self) -> None:
        """One more life. Raises LeaseLost when it is over."""
        if not self._coordination.sessions.renew(self.id):
            raise over(self.id)

    def close(self) -> None:
        """End the protection now; one that is over already is no error."""
        self._coordination.sessions.close(self.id)
