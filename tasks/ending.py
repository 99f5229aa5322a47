"""The end of a worker's child, soon after its worker was told to end (queue.md 4)."""

from __future__ import annotations

from typing import Any

from billiard import pool

#: How long a child that ends waits until its worker has read what it answered.
LAST_WORD_S = 2.0


def end_soon() -> None:
    """By default that is half a minute, of which everything passes when the worker itself is ending.

    It may have stopped reading in the very moment of the answer; then its message goes back only after the
    wait. What was answered and not read is delivered again, and found done.
    """
    library: Any = pool
    interval_s = library.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    library.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(LAST_WORD_S / interval_s)
