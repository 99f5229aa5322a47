"""The Celery application: made by a function, for one Redis and one configuration (queue.md 2.1).

Nothing happens at import, and nothing but names and settings when it is made: services are built in each
child process, after the fork, when its first task needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu import Queue as BrokerQueue

from caskeeper.broker import FAILURE_LIFE_S, STATES, broker_settings, broker_url, lane_queues
from caskeeper.contract import queue_of
from caskeeper.errors import ConfigInvalid
from tasks import artifacts, cache, schedule
from tasks.bundles import BundledEvents
from tasks.cleaning import CleanupWish
from tasks.delivery import Delivery, DeliveryHeartbeat, DeliverySettings
from tasks.messages import watch_unknown
from tasks.runner import Provider, ServiceTask
from tasks.timers import TidyTimers

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.config import Settings
    from caskeeper.contract import Request
    from caskeeper.coordination.flights import Flights
    from worker.wiring import Services

#: After its maximum life an operation gets this long to notice, before its process is ended.
_GRACE_S = 300.0


class Application:
    """The Celery app of a worker with what its tasks share."""

    def __init__(self, app: Celery, delivery: Delivery, provider: Provider, wish: CleanupWish) -> None:
        self.app = app
        self.delivery = delivery
        self.provider = provider
        self.wish = wish


def make_app(settings: Settings, redis_url: str, *, delivery: DeliverySettings | None = None) -> Celery:
    """The application without tasks: enough for beat, for Flower, and for whoever registers tasks."""
    times = delivery or DeliverySettings()
    app = Celery("caskeeper", set_as_current=False)
    loader: Any = app.loader
    loader.override_backends = STATES
    app.conf.update(
        broker_settings(redis_url, visibility_timeout_s=times.visibility_timeout_s),
        result_backend=broker_url(redis_url),
        result_failure_expires=FAILURE_LIFE_S,
        task_queues=[BrokerQueue(name) for name in lane_queues()],
        task_acks_late=True,  # acknowledged after the result is stored
        task_reject_on_worker_lost=True,  # a child that is killed: its job is delivered again at once
        worker_prefetch_multiplier=1,  # a worker holds what it runs, the queue's length is true
        worker_deduplicate_successful_tasks=True,
        result_backend_always_retry=True,  # a result waits for its Redis; else it would become a FAILURE
        task_publish_retry=True,
        # Not below an operation's life: whatever still renews its lease may still work.
        task_soft_time_limit=settings.leases.operation_life_s + _GRACE_S,
        task_time_limit=settings.leases.operation_life_s + 2 * _GRACE_S,
        worker_send_task_events=True,
        worker_proc_alive_timeout=30.0,  # a loaded machine forks slowly; killing a slow child helps nobody
        beat_schedule=schedule.entries(),
        beat_scheduler="celery.beat:Scheduler",  # nothing to keep between runs, so no file either
    )
    return app


def make_application(
    settings: Settings,
    redis_url: str,
    *,
    flights: Callable[[], Flights],
    build: Callable[[], Services],
    delivery: DeliverySettings | None = None,
) -> Application:
    """The application with every task of the contract, its delivery and its services."""
    times = delivery or DeliverySettings()
    if times.lease_ttl_s >= times.visibility_timeout_s:
        raise ConfigInvalid("an execution lease outlives its message", "delivery", "make it shorter")
    app = make_app(settings, redis_url, delivery=times)

    def send(request: Request, job_id: str) -> None:
        app.send_task(
            request.TASK,
            kwargs=request.to_json(),
            task_id=job_id,
            queue=queue_of(request.LANE),
            argsrepr="()",
            kwargsrepr=request.subject(),
        )

    watch_unknown(lambda: flights().jobs)
    made = Application(app, Delivery(flights, times), Provider(build), CleanupWish(send, flights))
    for kind in (*artifacts.KINDS, *cache.KINDS):
        register(made, kind, made.wish)
    step = type(
        "Heartbeat",
        (DeliveryHeartbeat,),
        {"delivery": made.delivery, "__module__": DeliveryHeartbeat.__module__},
    )
    app.steps["consumer"].update((step, BundledEvents, TidyTimers))
    return made


def register(made: Application, kind: type[Request], wish: CleanupWish) -> None:
    """Make the task of a request known to the application."""
    task = type(
        kind.__name__.removesuffix("Request"),
        (ServiceTask,),
        {
            "name": kind.TASK,
            "kind": kind,
            "delivery": made.delivery,
            "provider": made.provider,
            "cleanup": wish,
            "__module__": ServiceTask.__module__,
            "__doc__": kind.__doc__,
        },
    )
    made.app.register_task(task())
