"""The end of a worker, in order and soon after it was told to end (queue.md 4)."""

from __future__ import annotations

from typing import Any

from billiard import pool
from celery.app import trace

#: How long a child that ends waits until its worker has read what it answered.
LAST_WORD_S = 2.0


def end_in_order() -> None:
    """What the library makes of an end, mended before the children are forked.

    A child waits for its worker to read its answer: by default half a minute, of which everything passes
    when the worker has stopped reading in the very moment of the answer; then its message goes back only
    after the wait. What was answered and not read is delivered again, and found done. And a job that is put
    back is a line in the log, without a traceback.
    """
    library: Any = pool
    interval_s = library.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    library.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(LAST_WORD_S / interval_s)
    trace.log_policy_reject = trace.log_policy_reject._replace(traceback=0)
