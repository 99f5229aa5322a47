"""Every second read of the same blob: the one of a client that could not use what the first one gave."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caskeeper.digest import Digest


class Recent:
    """A bounded memory of digests. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._known: OrderedDict[Digest, None] = OrderedDict()

    def toggle(self, digest: Digest) -> bool:
        """Whether this is the second time, the fourth, …; what was not asked for lately begins anew."""
        with self._guard:
            if digest in self._known:
                del self._known[digest]
                return True
            self._known[digest] = None
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return False
