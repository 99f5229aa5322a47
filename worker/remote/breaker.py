"""What the fleet tells one process of its remotes, and the other way round (R17).

Without a Redis that answers, each process has its own memory of the remotes that did not.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from caskeeper.errors import CaskeeperError, Transient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.breakers import Breakers, LeftAlone

log = logging.getLogger(__name__)


class Breaker:
    """The fleet's memory, as far as it can be reached; no method raises."""

    def __init__(self, breakers: Breakers | None = None) -> None:
        self._breakers = breakers

    def look(self, urls: Sequence[str]) -> dict[str, LeftAlone] | None:
        """Which of these are left alone; None: nobody can tell."""
        if self._breakers is None or not urls:
            return None
        try:
            return self._breakers.look(urls)
        except CaskeeperError as gone:
            log.debug("remotes not asked about", extra={"reason": str(gone)})
            return None

    def silent(self, url: str, error: CaskeeperError, *, first_s: float) -> float:
        """It did not answer; for how long nobody asks it. Said once in the fleet's logs.

        What is wrong on our side (a certificate) is no matter of the fleet's: each process says it.
        """
        if self._breakers is None:
            return first_s
        who, left_s, news = "this process", first_s, True
        if isinstance(error, Transient):
            try:
                left_s, news = self._breakers.open(url, error, first_s=first_s)
                who = "all workers"
            except CaskeeperError as gone:
                log.debug("remote's silence not told", extra={"url": url, "reason": str(gone)})
        if news:
            log.warning(
                "remote is left alone by %s",
                who,
                extra={"url": url, "reason": error.what, "seconds": round(left_s)},
            )
        return left_s

    def answered(self, url: str) -> None:
        """It is in order."""
        if self._breakers is None:
            return
        try:
            if self._breakers.close(url):
                log.info("remote answers again", extra={"url": url})
        except CaskeeperError as gone:
            log.debug("remote's return not told", extra={"url": url, "reason": str(gone)})
