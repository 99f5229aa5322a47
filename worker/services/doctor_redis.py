"""The Redis part of `doctor` (safety.md section 7): whether it may be relied on, and how its state is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.config.sizes import pretty_size
from caskeeper.coordination.connection import without_credentials
from caskeeper.coordination.examination import examine_redis
from caskeeper.errors import CaskeeperError
from worker.services.checks import Check, Checks

if TYPE_CHECKING:
    from caskeeper.coordination.examination import RedisFacts

#: A share of its memory from which on it is nearly full.
_NEARLY = 0.9
#: Clocks of hosts that are looked after differ by less. Delivery compares workers' clocks with each other.
_SKEW_S = 5.0


def look_at_redis(url: str, volume_id: str | None = None) -> tuple[list[Check], RedisFacts | None]:
    """Every check, and what was seen; None: it did not answer."""
    checks = Checks("redis")
    where = without_credentials(url)
    try:
        facts = examine_redis(url, volume_id)
    except CaskeeperError as away:
        checks.trouble("reachable", str(away), "start it, or correct `redis` in the configuration")
        return checks.made, None
    checks.ok("reachable", f"{where}: {facts.version}")
    _judge_server(checks, facts)
    _judge_state(checks, facts)
    return checks.made, facts


def _judge_server(checks: Checks, facts: RedisFacts) -> None:
    if facts.role not in {"master", "primary"}:
        checks.trouble("role", f"it is a {facts.role}, which takes no writes", "name the primary server")
    if facts.policy != "noeviction":
        checks.trouble(
            "maxmemory-policy",
            f"{facts.policy}: when its memory is full it drops keys, claims and sessions among them",
            "set `maxmemory-policy noeviction`; workers refuse to start until then",
        )
    else:
        checks.ok("maxmemory-policy", facts.policy)
    _judge_memory(checks, facts)
    _judge_persistence(checks, facts)
    if abs(facts.clock_ahead_s) > _SKEW_S:
        where = "ahead of" if facts.clock_ahead_s > 0 else "behind"
        checks.warning(
            "clock",
            f"its clock is {abs(facts.clock_ahead_s):.0f} s {where} this host's",
            "set both clocks by NTP: jobs are delivered again by the workers' clocks",
        )
    else:
        checks.ok("clock", f"its clock agrees with this host's within {_SKEW_S:g} s")


def _judge_memory(checks: Checks, facts: RedisFacts) -> None:
    used, limit = facts.memory_used, facts.memory_limit
    if not limit:
        checks.ok("memory", f"{pretty_size(used)} used, no maxmemory")
        return
    found = f"{pretty_size(used)} used of maxmemory {pretty_size(limit)}"
    if used >= limit:
        checks.trouble("memory", f"{found}: every write is refused", "raise `maxmemory`")
    elif used > limit * _NEARLY:
        checks.warning("memory", f"{found}: nearly full, then every write is refused", "raise `maxmemory`")
    else:
        checks.ok("memory", found)


def _judge_persistence(checks: Checks, facts: RedisFacts) -> None:
    if facts.save_failed:
        checks.trouble(
            "persistence",
            f"its last {facts.save_failed} failed, so it may refuse every write",
            "free space on its disk, or make its folder writable; its log says what failed",
        )
    elif facts.appends or facts.saves:
        checks.ok("persistence", "append-only file" if facts.appends else "snapshots")
    elif facts.saves is None:
        checks.ok("persistence", "no append-only file; it does not tell whether it takes snapshots")
    else:
        checks.warning(
            "persistence",
            "it keeps nothing on its disk: a restart loses queued jobs and open sessions",
            "set `appendonly yes`",
        )


def _judge_state(checks: Checks, facts: RedisFacts) -> None:
    state = facts.state
    if state is None or state.epoch is None:
        checks.warning(
            "state", "it keeps no state of a volume yet", "start `caskeeper worker`: it makes or recovers it"
        )
    elif facts.owner is None and not state.lost:
        checks.warning(
            "state",
            "it has the state of the volume, and the key that says which volume it belongs to is gone",
            "`caskeeper verify --repair`, like every upkeep, writes it anew",
        )
    elif state.lost:
        checks.warning(
            "state",
            "it was restarted, emptied, or lost a part of its state",
            "a running worker recovers it by itself: start one if none runs",
        )
    elif not state.ready:
        checks.warning("state", "it is being recovered", "wait; if no worker runs, start one")
    elif state.evict_from_ms > state.now_ms:
        left_s = (state.evict_from_ms - state.now_ms) / 1000
        checks.warning(
            "state",
            f"recovered; nothing is evicted for {left_s:.0f} s more",
            "wait: who worked when it was lost may come back",
        )
    elif not state.known:
        checks.warning(
            "state", "the size of the cache is an upper bound", "`caskeeper compute-size` counts it"
        )
    else:
        checks.ok("state", f"ready, of volume {facts.owner}")
