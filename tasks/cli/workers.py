"""Which workers answer, and which queues they serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tasks.cli.invocation import Invocation

#: How long workers have to answer.
PING_S = 0.7


def serving(invocation: Invocation) -> dict[str, frozenset[str]]:
    """The queues of every worker that answers within a moment, by its name. Raises CoordinatorUnavailable."""
    from tasks.celery_app import make_app

    invocation.client.queue.taken()  # a Redis that does not answer is told as such, not by no worker
    app = make_app(invocation.settings, invocation.client.redis_url)
    try:
        with invocation.client.queue.errors("the workers could not be asked"):
            answers: dict[str, Any] = app.control.inspect(timeout=PING_S).active_queues() or {}
    finally:
        app.close()
    return {name: frozenset(str(queue["name"]) for queue in queues) for name, queues in answers.items()}


def unserved(invocation: Invocation, job_ids: Iterable[str]) -> list[str]:
    """The queues in which these jobs wait while no worker that answers takes any from there."""
    from caskeeper.contract import REQUESTS, queue_of
    from caskeeper.queue import QUEUED

    states = [invocation.client.queue.state(job_id) or {} for job_id in job_ids]
    kinds = [REQUESTS.get(str(state.get("name"))) for state in states if state.get("status") == QUEUED]
    waited_for = dict.fromkeys(queue_of(kind.LANE) for kind in kinds if kind is not None)
    if not waited_for:
        return []
    served = frozenset().union(*serving(invocation).values())
    return [queue for queue in waited_for if queue not in served]
