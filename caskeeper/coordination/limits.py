"""A bounded number of places for the whole fleet: transfers at one remote, jobs of one lane.

Places are leases: one that is not renewed is free again, so whoever is killed blocks nobody for longer. A
hint (I6): losing the key lets a few more through, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caskeeper.coordination.scripts import Scripts

#: How long a place is kept without being renewed.
PLACE_S = 15.0


class Limits:
    """Places by the name of what is limited. Every method raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, name: str, token: str, *, limit: int, ttl_s: float = PLACE_S) -> bool:
        """This token has one of ``limit`` places for so long, or for longer; False: all are taken."""
        key = self._scripts.keys.turns(name)
        return bool(self._scripts.run_plain("turn_take", key, token, limit, round(ttl_s * 1000))[0] == "OK")

    def release(self, name: str, token: str) -> bool:
        """Its place is free; False: it had none any more."""
        return bool(self._scripts.run_plain("turn_release", self._scripts.keys.turns(name), token)[0] == "OK")
