"""What a server does about damaged content: taken away in the background, one file at a time.

Nothing damaged is answered as missing before it is taken away (I10): until then a client that reads it hears
DATA_LOSS, one that wants to store it waits a moment. Whether its refs stay is not decided here: the client
may be about to upload it again.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from caskeeper.errors import Busy, Cancelled, CaskeeperError
from worker.protocols import Context

if TYPE_CHECKING:
    from collections.abc import Collection

    from caskeeper.digest import Digest
    from worker.server.needs import Healing
    from worker.store.damage import ObjectDamaged

log = logging.getLogger(__name__)

#: How long a call that stores content waits: less than a client waits for its server.
WAIT_S = 10.0
#: So many damaged files may wait; more are found again when they are read again.
_MOST = 10_000


class Mender:
    """One thread and what it is to look at. Safe to use from several threads."""

    def __init__(self, healing: Healing) -> None:
        self._healing = healing
        self._changed = threading.Condition()
        self._waiting: dict[Digest, None] = {}
        self._now: Digest | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mending", daemon=True)

    def start(self) -> None:
        """The thread."""
        self._thread.start()

    def close(self) -> None:
        """No more; the one that is looked at is left to others."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def report(self, trouble: ObjectDamaged) -> None:
        """Somebody met this; returns at once."""
        with self._changed:
            if trouble.digest is not None and len(self._waiting) < _MOST:
                self._waiting[trouble.digest] = None
                self._changed.notify_all()

    def await_taken(self, digests: Collection[Digest]) -> None:
        """Return when those of ``digests`` that were reported are taken away, or found good.

        Busy when that takes too long: the client may ask again.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_awaited(digests), WAIT_S):
                raise Busy("a damaged object is being taken away", str(next(iter(digests))))

    def _is_awaited(self, digests: Collection[Digest]) -> bool:
        return not self._closing and any(digest in self._waiting or digest == self._now for digest in digests)

    def _taken(self) -> None:
        with self._changed:
            self._now = None
            self._changed.notify_all()

    def _check(self) -> None:
        if self._closing:
            raise Cancelled("the server stops", "mending")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                self._now = next(iter(self._waiting))
                del self._waiting[self._now]
                digest = self._now
            context = Context(progress=lambda _progress: None, check=self._check)
            try:
                self._healing.mend(digest, context, taken=self._taken)
            except CaskeeperError as trouble:
                log.warning("not mended", extra={"hash": digest.hash, "error": str(trouble)})
            except Exception:
                log.exception("bug in mending")
            finally:
                self._taken()
