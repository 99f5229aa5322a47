"""A guard for one release of the queue's transport, so that a worker outlives its Redis (queue.md 2.2).

In kombu 5.7.0 a lost connection makes the closed channel look for its connection's address; that is an
AttributeError, which nobody expects, and the worker ends. Raised as a ConnectionError it is what it is: the
worker connects again. Other releases are left alone; tests/integration kills a Redis under load to tell.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from kombu.transport import redis

from caskeeper.channels import GUARDED_VERSION, keep_clients
from tasks.keeping import guard_kept
from tasks.messages import guard_messages


def guard() -> bool:
    """Put the guard in place, once; whether this release needs it. The others always."""
    guard_messages()
    guard_kept()
    keep_clients()
    if version("kombu") != GUARDED_VERSION:
        return False
    channels: Any = redis.Channel
    original = channels._connparams  # noqa: SLF001 -- there is no public place to catch this
    if getattr(original, "guards", False):
        return True

    def connparams(channel: Any, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 -- the library's signature
        if channel.connection is None or channel.connection.client is None:
            raise ConnectionError("the channel is closed")
        return original(channel, asynchronous)

    connparams.guards = True  # type: ignore[attr-defined]
    channels._connparams = connparams  # noqa: SLF001 -- as above
    return True
