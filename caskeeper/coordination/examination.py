"""What `doctor` wants to know of a Redis server: how it is configured and how it does. Changes nothing.

Asked apart from ``Coordination``, which refuses a server that is not fit before anything can be told of it.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from caskeeper.coordination import keys as key_names
from caskeeper.coordination.connection import Connection
from caskeeper.coordination.keys import Keys
from caskeeper.coordination.scripts import Scripts
from caskeeper.coordination.values import State
from caskeeper.errors import CaskeeperError

#: How long it may take to answer.
TRY_S = 3.0


class RedisFacts(NamedTuple):
    """One look. ``saves`` None: the server does not tell its configuration. Sizes in bytes.

    ``clock_ahead_s``: how far its clock is ahead of this host's. ``owner`` is the volume that the database
    belongs to, ``state`` what it keeps for that one; None: none.
    """

    version: str
    role: str
    policy: str
    memory_limit: int
    memory_used: int
    appends: bool
    saves: bool | None
    save_failed: str
    clock_ahead_s: float
    owner: str | None
    state: State | None


def examine_redis(url: str, volume_id: str | None = None) -> RedisFacts:
    """``volume_id``: of which volume the state is looked at where the database does not name one.

    Raises ConfigInvalid for what is no address, CoordinatorUnavailable, PermissionDenied.
    """
    connection = Connection(url, timeout_s=TRY_S)
    try:
        return _examine(connection, volume_id)
    finally:
        connection.close()


def _examine(connection: Connection, volume_id: str | None) -> RedisFacts:
    before = time.time()
    seconds, microseconds = connection.command("TIME")
    there = int(seconds) + int(microseconds) / 1_000_000
    ahead_s = there - (before + time.time()) / 2
    server, memory = connection.command("INFO", "server"), connection.command("INFO", "memory")
    kept = connection.command("INFO", "persistence")
    owner = connection.command("GET", key_names.VOLUME)
    version = server.get("valkey_version") or server.get("redis_version", "?")
    return RedisFacts(
        version=f"{server.get('server_name', 'redis')} {version}",
        role=str(connection.command("INFO", "replication").get("role", "master")),
        policy=str(memory.get("maxmemory_policy", "noeviction")),
        memory_limit=int(memory.get("maxmemory", 0)),
        memory_used=int(memory.get("used_memory", 0)),
        appends=int(kept.get("aof_enabled", 0)) == 1,
        saves=_saves(connection),
        save_failed=_save_failed(kept),
        clock_ahead_s=ahead_s,
        owner=None if owner is None else str(owner),
        state=None if (kept_for := owner or volume_id) is None else _state(connection, str(kept_for)),
    )


def _saves(connection: Connection) -> bool | None:
    try:
        answer: Any = connection.command("CONFIG", "GET", "save")
    except CaskeeperError:  # forbidden to this user, or unknown to a hosted one
        return None
    pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    return bool(pairs["save"]) if "save" in pairs else None


def _save_failed(kept: dict[str, Any]) -> str:
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if kept.get(name, "ok") != "ok":
            return name.replace("_", " ").removesuffix(" status")
    return ""


def _state(connection: Connection, volume_id: str) -> State:
    return State.of(Scripts(connection, Keys(volume_id)).run("state"))
