"""A guard for one release of the queue's transport: a channel keeps its redis client.

kombu 5.7.0 makes a client for every command, two for each job that is sent and five for each that is taken,
and each takes as long as the command itself. Other releases are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kombu
from kombu.transport import redis

if TYPE_CHECKING:
    from collections.abc import Callable

GUARDED_VERSION = "5.7.0"


def keep_clients() -> None:
    """Put the guard in place, once, where this release needs it."""
    library: Any = kombu  # its types leave this out
    channels: Any = redis.Channel
    original = channels._create_client  # noqa: SLF001 -- there is no public place to change this
    if library.__version__ == GUARDED_VERSION and not getattr(original, "keeps", False):
        channels._create_client = _keeping(original)  # noqa: SLF001 -- as above


def _keeping(original: Callable[..., Any]) -> Callable[..., Any]:
    """One client for each channel and pool: it holds nothing but the pool."""

    def create_client(channel: Any, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 -- the library's signature
        if asynchronous:  # that one is kept by the library, with a connection of its own
            return original(channel, asynchronous)
        pool, kept = channel.pool, vars(channel).get("kept_client")
        if kept is None or kept.connection_pool is not pool:
            kept = channel.kept_client = original(channel)
        return kept

    create_client.keeps = True  # type: ignore[attr-defined]
    return create_client
