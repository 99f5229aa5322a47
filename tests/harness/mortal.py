"""A process that dies before its n-th step: a change of the volume, or a script that changes Redis.

Nothing that outlives a process changes between two such steps, so dying before each of them is dying
anywhere (safety.md section 8). What runs afterwards, handlers and threads included, reaches nothing.
"""

from __future__ import annotations

import json
import threading

from harness.services import SMALL_CACHE, MemoryPool
from harness.volumes import Dead

from caskeeper.config import Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.coordination import Coordination
from caskeeper.coordination.connection import RUN_ID, Connection
from caskeeper.coordination.scripts import load
from worker.store.volume import Volume
from worker.wiring import wire

NEVER = 10**9
#: Scripts that only look.
_LOOKS = {load(name, RUN_ID).sha for name in ("state", "read", "sessions_live")}


class Life:
    """Counts the steps of one process and ends before number ``at``.

    With ``meanwhile`` the process stands still there instead, all its threads, while others do that.
    """

    def __init__(self, at=NEVER, *, meanwhile=None):
        self.at = at
        self.did = []  # what each step was
        self._meanwhile = meanwhile
        self._guard = threading.Lock()

    @property
    def steps(self):
        return len(self.did)

    def step(self, *what):
        with self._guard:
            self.did.append(what)
            if self.steps == self.at and self._meanwhile is not None:
                self._meanwhile()
        self.look(*what)

    def look(self, *what):
        if self.steps >= self.at and self._meanwhile is None:
            raise Dead(*what)


class MortalVolume(Volume):
    """The volume as one process sees it."""

    def __init__(self, layout, life, *, disk=None):
        super().__init__(layout)
        self._life = life
        self._disk = disk

    def _change(self, verb, *paths):
        self._life.step(verb, *paths)
        if self._disk is not None:
            self._disk.change(verb, *paths)


class MortalConnection(Connection):
    """Redis as one process sees it."""

    def __init__(self, url, life):
        super().__init__(url)
        self._life = life

    def script(self, script, keys, args):
        if script.sha in _LOOKS:
            self._life.look("look")
        else:
            self._life.step("script", script.text.rpartition("-- KEYS")[0].rpartition("-- ")[2])
        return super().script(script, keys, args)

    def command(self, *words):
        self._life.look(*words)
        return super().command(*words)


def mortal_services(
    layout,
    url,
    volume_id,
    leases,
    *,
    remotes=(),
    roots=(),
    at=NEVER,
    meanwhile=None,
    disk=None,
    cache=SMALL_CACHE,
):
    """(its life, the services of a process) on a volume and a Redis that are there.

    ``disk`` is asked before each change of the volume (``harness.full_disk``).
    """
    life = Life(at, meanwhile=meanwhile)
    pool = MemoryPool()
    pool.remotes.update({remote.url: remote for remote in remotes})
    settings = Settings(
        cachedir=layout.root,
        roots=tuple(map(str, roots)),
        cache=cache,
        leases=leases,
        artifacts=tuple(RemoteSpec(remote.url, push=True) for remote in remotes),
        source="test.yaml",
    )
    coordination = Coordination.over(MortalConnection(url, life), volume_id=volume_id, leases=leases)
    return life, wire(settings, MortalVolume(layout, life, disk=disk), coordination, pool)


def expire_leases(client, volume_id):
    """As if every lease of a process that is gone had run out: nobody has to wait for that in a test.

    The waiting period after a loss of the state is over too, for it is as long as the longest of them.
    """
    prefix = f"caskeeper:{{{volume_id}}}:"
    for name, text in client.hgetall(f"{prefix}operations").items():
        if name != "epoch":
            client.hset(f"{prefix}operations", name, json.dumps({**_record(text), "expires_ms": "0"}))
    client.hset(f"{prefix}cleanup", "expires_ms", "0")
    if client.exists(f"{prefix}state"):
        client.hset(f"{prefix}state", "evict_from_ms", "0")


def _record(text):
    # Lua writes an empty list as an empty object; written back as a list it stays what it is.
    record = json.loads(text)
    return {**record, "claims": list(record["claims"])}
