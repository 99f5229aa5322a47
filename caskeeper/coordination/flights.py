"""What delivery needs: one execution of a task at a time, a delivery count, the heartbeat (queue.md 2).

These keys have a TTL: losing one costs a second execution of an idempotent verb (I8), no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.coordination.scripts import Scripts

_DAY_MS = 24 * 60 * 60 * 1000


class Flights:
    """Executions of tasks. Every method raises CoordinatorUnavailable."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take(self, task_id: str, token: str, *, ttl_s: float) -> bool:
        """This token executes the task for so long; False: another one does."""
        key = self._scripts.keys.execution(task_id)
        return bool(self._scripts.run_plain("flight_take", key, token, round(ttl_s * 1000))[0] == "OK")

    def renew(self, task_id: str, token: str, *, ttl_s: float) -> bool:
        """So much longer; False: this token does not execute the task any more."""
        key = self._scripts.keys.execution(task_id)
        return bool(self._scripts.run_plain("flight_renew", key, token, round(ttl_s * 1000))[0] == "OK")

    def release(self, task_id: str, token: str) -> bool:
        """The task may be executed by others; False: this token did not execute it any more."""
        key = self._scripts.keys.execution(task_id)
        return bool(self._scripts.run_plain("flight_release", key, token)[0] == "OK")

    def count_delivery(self, task_id: str) -> int:
        """How often the task has been delivered, this time included; forgotten after a day."""
        key = self._scripts.keys.deliveries(task_id)
        return int(self._scripts.run_plain("flight_count", key, _DAY_MS)[1])

    def beat(self, index_key: str, tags: Sequence[str]) -> None:
        """The messages with these delivery tags are in good hands (queue.md 2.3).

        ``index_key`` is the transport's own sorted set. It compares with the workers' clocks, so this
        one writes such a time too; XX never brings an acknowledged message back.
        """
        now = time.time()
        if tags:
            pairs = [word for tag in tags for word in (now, tag)]
            self._scripts.connection.command("ZADD", index_key, "XX", *pairs)
