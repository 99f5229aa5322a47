"""A guard at the worker's door: a malformed message ends itself, not its worker (queue.md 2.2).

Whoever reaches the Redis can write into a queue. Left to itself the library raises what such an item makes
it raise, the worker ends, and the message waits for the next worker. Here it is one line in the log and
gone. Time limits are ours alone: what a message says about them is not listened to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import signals
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError
from kombu.transport import redis

from caskeeper.coordination.jobs import Offer, Outcome
from caskeeper.errors import CoordinatorUnavailable
from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caskeeper.coordination.jobs import Jobs

log = Log("caskeeper.messages")

_ENCODINGS = (None, "utf-8", "base64")
_ERRORS: tuple[type[Exception], ...] = (*redis.Transport.connection_errors, *redis.Transport.channel_errors)
#: No fault of the message: it is delivered again. A KeyError, which the library counts here, may be one.
_BROKEN_CONNECTION: tuple[type[Exception], ...] = (
    OperationalError,
    *(kind for kind in _ERRORS if kind is not KeyError),
)


class _Undecodable:
    """In the place of an item of a queue that is no JSON."""


def guard_messages() -> None:
    """Put the guard in place, once."""
    transports: Any = redis.Transport
    if getattr(transports._deliver, "guards", False):  # noqa: SLF001 -- there is no public place to catch this
        return
    module: Any = redis
    module.loads = _tolerant(module.loads)
    transports._deliver = _delivering(transports._deliver)  # noqa: SLF001 -- as above
    consumers: Any = Consumer
    consumers.create_task_handler = _receiving(consumers.create_task_handler)


def envelope_fault(message: object) -> str:
    """What keeps an item of a queue from being a message; "" = nothing."""
    if not isinstance(message, dict):
        return "it is no message"
    properties, headers = message.get("properties"), message.get("headers")
    if not isinstance(properties, dict) or not isinstance(headers, dict):
        return "it has no properties or no headers"
    tag, info = properties.get("delivery_tag"), properties.get("delivery_info")
    if not isinstance(tag, str) or not tag or not isinstance(info, dict):
        return "it does not say how it is delivered"
    if not all(isinstance(info.get(name), str) for name in ("exchange", "routing_key")):
        return "it does not say how it is delivered"
    known = properties.get("body_encoding") in _ENCODINGS and "compression" not in headers
    if not known or not isinstance(message.get("body"), str):
        return "its body is in no known form"
    return ""


def task_fault(headers: Mapping[str, Any], body: object) -> str:
    """What keeps a message from being one of our jobs; "" = nothing."""
    if not all(isinstance(headers.get(name), str) and headers[name] for name in ("id", "task")):
        return "it names no job"
    retries = headers.get("retries") or 0
    if not isinstance(retries, int) or retries < 0:
        return "its number of retries is none"
    if not isinstance(body, list) or len(body) != 3:
        return "its body is not that of a job"
    arguments, options, embedded = body
    if not isinstance(arguments, list) or not isinstance(options, dict):
        return "its arguments are not those of a job"
    if embedded is not None and not (isinstance(embedded, dict) and not any(embedded.values())):
        return "it wants more than one job"  # what we send names no followers
    return ""


def _tolerant(original: Callable[..., Any]) -> Callable[..., Any]:
    def loads(text: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return original(text, *arguments, **options)
        except (ValueError, RecursionError):
            return _Undecodable()

    return loads


def _delivering(original: Callable[..., Any]) -> Callable[..., Any]:
    def deliver(transport: Any, message: Any, queue: Any) -> Any:
        fault = envelope_fault(message)
        if fault:
            log.warning("item of a queue dropped", queue=str(queue), reason=fault)
            return None
        try:
            return original(transport, message, queue)
        except (ValueError, TypeError) as trouble:
            # Its outer form could not be decoded; nothing was noted about it yet.
            log.warning("item of a queue dropped", queue=str(queue), reason=repr(trouble)[:200])
            return None

    deliver.guards = True  # type: ignore[attr-defined]
    return deliver


def _receiving(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_task_handler(consumer: Any, *arguments: Any, **options: Any) -> Any:
        handle = original(consumer, *arguments, **options)

        def on_task_received(message: Any) -> None:
            try:
                fault = task_fault(message.headers, message.payload)
                if not fault:
                    message.headers["timelimit"] = [None, None]
                    handle(message)
                    return
            except _BROKEN_CONNECTION:
                raise
            except Exception as trouble:  # noqa: BLE001 -- whatever a message makes the library raise
                fault = repr(trouble)[:200]
            log.warning("message dropped", job=str(message.headers.get("id"))[:80], reason=fault)
            message.reject(requeue=False)

        return on_task_received

    return create_task_handler


def watch_unknown(jobs: Callable[[], Jobs]) -> None:
    """A message for a task that this worker does not know: an older worker beside newer clients, or a typo.

    The library stores NotRegistered as its result, and the message is gone: told loudly, and in the record.
    """

    def unknown(**told: Any) -> None:
        job_id, name = str(told.get("id"))[:80], str(told.get("name"))[:80]
        log.error("task unknown, job lost", job=job_id, task=name)
        sentence = f"this worker knows no task {name}: upgrade the older side"
        try:
            if jobs().read(job_id) is None:  # sent by another program
                jobs().join(Offer(job_id, f"job:{job_id}", name, "", "", ""), waiter="", wait_s=0.0)
            jobs().forget(job_id, f"job:{job_id}", Outcome("failed", "NotRegistered", 1, sentence))
        except CoordinatorUnavailable as gone:
            log.debug("not noted", job=job_id, error=gone)

    signals.task_unknown.connect(unknown, weak=False, dispatch_uid="caskeeper.unknown")
