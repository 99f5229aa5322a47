"""A worker outlives a Redis that refuses what it writes, and loses no message to it.

A message is taken out of its queue in one step and noted as held in another. Where the second one is refused,
as by a Redis whose memory is full, or cut off, the library lets the message go, and where it was refused the
worker ends as well: a full Redis would be emptied of its jobs by workers that are started again. Here the
message is done all the same, or kept until Redis takes it: the worker's heartbeat tells it.
"""

from __future__ import annotations

import json
import time
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.transport import redis, virtual

from worker.telemetry.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

log = Log("caskeeper.keeping")

#: How long a worker leaves a Redis alone that gives it no messages.
_PAUSE_S = 0.5
#: How often that is said.
_SAID_EVERY_S = 60.0
#: What an answer that is no message may be; a connection that breaks is another matter.
_REFUSED: tuple[type[Exception], ...] = redis.Transport.channel_errors


class _Unkept(NamedTuple):
    """``done_here``: this worker does it; else somebody has to get it again."""

    message: str
    done_here: bool


#: Messages that were taken and that Redis does not know as held, by delivery tag.
_unkept: dict[str, _Unkept] = {}


def guard_kept() -> None:
    """Put the guard in place, once."""
    qos: Any = redis.QoS
    channel: Any = redis.Channel
    if getattr(qos.append, "guards", False):
        return
    qos.append = _appending(qos.append)
    qos.ack = _ending(qos.ack)
    qos.reject = _ending(qos.reject)
    qos.restore_by_tag = _restoring(qos.restore_by_tag)
    qos.restore_visible = _sweeping(qos.restore_visible)
    # There is no public place to catch this.
    channel._brpop_read = _reading(channel._brpop_read)  # noqa: SLF001


def unkept(held: set[str]) -> dict[str, str]:
    """What Redis has to be told of, by delivery tag; ``held``: what the worker has not ended yet."""
    for tag in [tag for tag, one in _unkept.items() if one.done_here and tag not in held]:
        del _unkept[tag]  # it has ended
    return {tag: one.message for tag, one in _unkept.items()}


def kept(told: dict[str, str]) -> None:
    """Redis knows these now."""
    for tag in told:
        _unkept.pop(tag, None)


def as_kept(message: Any) -> str:
    """A message as the transport keeps it while a worker holds it."""
    info = message.delivery_info
    return json.dumps([message._raw, info["exchange"], info["routing_key"]])  # noqa: SLF001 -- as it came


def _appending(original: Callable[..., None]) -> Callable[..., None]:
    def append(qos: Any, message: Any, delivery_tag: str) -> None:
        try:
            original(qos, message, delivery_tag)
        except _REFUSED as refused:
            log.warning("Redis does not take that this worker holds a message", reason=str(refused)[:200])
            _unkept[delivery_tag] = _Unkept(as_kept(message), done_here=True)
            virtual.QoS.append(qos, message, delivery_tag)
        except Exception:
            _unkept[delivery_tag] = _Unkept(as_kept(message), done_here=False)
            raise

    append.guards = True  # type: ignore[attr-defined]
    return append


def _ending(original: Callable[..., None]) -> Callable[..., None]:
    def end(qos: Any, delivery_tag: str, *arguments: Any, **options: Any) -> None:
        try:
            original(qos, delivery_tag, *arguments, **options)
        except _REFUSED as refused:
            if isinstance(refused, redis.Transport.connection_errors):
                raise
            # It stays with those that are held, and is delivered again to whoever finds that it has ended.
            log.warning("Redis does not take that a message is done with", reason=str(refused)[:200])
            virtual.QoS.ack(qos, delivery_tag)

    return end


def _restoring(original: Callable[..., None]) -> Callable[..., None]:
    def restore_by_tag(qos: Any, tag: str, *arguments: Any, **options: Any) -> None:
        if tag in _unkept:  # there is nothing that could be put back yet
            _unkept[tag] = _unkept[tag]._replace(done_here=False)
        original(qos, tag, *arguments, **options)

    return restore_by_tag


def _sweeping(original: Callable[..., None]) -> Callable[..., None]:
    def restore_visible(qos: Any, *arguments: Any, **options: Any) -> None:
        try:
            original(qos, *arguments, **options)
        except _REFUSED as refused:  # it is tried again every second: no traceback each time
            if isinstance(refused, redis.Transport.connection_errors):
                raise
            log.debug("no look for messages of dead workers", reason=str(refused)[:200])

    return restore_visible


def _reading(original: Callable[..., Any]) -> Callable[..., Any]:
    said = float("-inf")

    def read(channel: Any, **options: Any) -> Any:
        try:
            return original(channel, **options)
        except _REFUSED as refused:
            if isinstance(refused, redis.Transport.connection_errors):
                raise
            nonlocal said
            if time.monotonic() - said > _SAID_EVERY_S:
                said = time.monotonic()
                log.warning("Redis gives this worker no messages", reason=str(refused)[:200])
            time.sleep(_PAUSE_S)
            raise Empty from refused

    return read
