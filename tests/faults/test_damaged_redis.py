"""Every key of Redis that is ours, in turn deleted, emptied, of another type, or full of junk: a scan and a
wait, never data, and never a wrong answer (I6, R-13).

Afterwards a build goes on: what its session requires stays, what may go can be evicted once the waiting
period is over, nothing goes before, and the count becomes exact.
"""

from __future__ import annotations

import time

import pytest
from harness.fleet import Oracle, settings_for, write_tree
from harness.mortal import expire_leases
from harness.safety_report import record

from caskeeper.config.settings import LeaseSettings
from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest, ExtractRequest
from caskeeper.coordination import StateLost
from caskeeper.errors import Busy, LeaseLost
from worker.protocols import quiet
from worker.wiring import build

LEASES = LeaseSettings(operation_s=60.0, session_s=60.0, clock_margin_s=0.0)
NEEDED, OTHER, NEXT = "p/needed/k", "p/other/o", "p/next/n"
SESSION = "build-1"
STRUCTURES = ("state", "usage", "operations", "claims", "condemned", "sessions", "cleanup")


def deleted(client, key):
    client.delete(key)


def of_another_type(client, key):
    kind = client.type(key)
    client.delete(key)
    if kind == "string":
        client.rpush(key, "a", "list")
    else:
        client.set(key, "a string")


def emptied(client, key):
    """All but what keeps the key alive: its members, or its text."""
    match client.type(key):
        case "hash":
            for field in client.hkeys(key):
                if field != "epoch":
                    client.hdel(key, field)
        case "set":
            client.srem(key, *[one for one in client.smembers(key) if not one.startswith("epoch:")])
        case "zset":
            client.zremrangebyrank(key, 0, -1)
        case "stream":
            client.xtrim(key, maxlen=0)
        case _:
            client.set(key, "")


def full_of_junk(client, key):
    match client.type(key):
        case "hash":
            for field in client.hkeys(key):
                client.hset(key, field, "\x00{[junk")
            client.hset(key, "junk", "junk")
        case "set":
            client.sadd(key, "junk", "\x00")
        case "zset":
            client.zadd(key, {"junk": 1, "\x00": 2})
        case "stream":
            client.xadd(key, {"junk": "\x00"})
        case _:
            client.set(key, "\x00 junk")


def _numbers(client, key, harm):
    """What is a number becomes another one."""
    if client.type(key) == "hash":
        for field, text in client.hgetall(key).items():
            if text.lstrip("-").isdigit():
                client.hset(key, field, harm)


def below_zero(client, key):
    _numbers(client, key, "-4096")


def beyond_counting(client, key):
    _numbers(client, key, "9" * 18)


def far_too_large(client, key):
    _numbers(client, key, str(10**15))


HARMS = {
    "deleted": deleted,
    "emptied": emptied,
    "of another type": of_another_type,
    "full of junk": full_of_junk,
    "with numbers below zero": below_zero,
    "with numbers beyond counting": beyond_counting,
    "with numbers far too large": far_too_large,
}


class Site:
    """A volume, its services, and the key of each name."""

    def __init__(self, folder, valkey):
        self.folder = folder
        self.valkey = valkey
        self.services = build(settings_for(folder, leases=LEASES), redis_url=valkey.url)
        self.volume_id = self.services.coordination.volume_id
        self.oracle = Oracle(self.services.layout.root)
        for ref in (NEEDED, OTHER):
            self.commit(ref)
        self.services.run(ExtractRequest(ref=OTHER), quiet())
        self.services.coordination.sessions.open(SESSION, life_s=600)
        self.services.coordination.sessions.require(SESSION, ["k"])

    def commit(self, ref):
        source = write_tree(self.folder / ref.replace("/", "-"), {"own": ref.encode(), "common": b"common"})
        return self.services.run(CommitRequest(path=source, refs=(ref,)), quiet())

    def refs(self):
        return set(self.oracle.refs())

    def require_again(self):
        """What a session does that finds out that it is over."""
        sessions = self.services.coordination.sessions
        self.services.upkeep_wanted()  # after every job
        if not sessions.renew(SESSION):
            sessions.open(SESSION, life_s=600)
        sessions.require(SESSION, ["k"])

    def pass_time(self):
        with self.valkey.client() as client:
            expire_leases(client, self.volume_id)
        time.sleep(0.011)


def names(valkey):
    with valkey.client() as client:
        return sorted(client.keys("caskeeper:*"))


@pytest.fixture
def site(tmp_path, valkey):
    made = Site(tmp_path, valkey)
    try:
        yield made
    finally:
        made.services.close()


#: By the last word of the key; the session's set by its first part.
KEYS = (*STRUCTURES, "session", "recency", "events", "volume")


def name_of(key):
    return key.rpartition("}:")[2].rpartition("caskeeper:")[2].split(":")[0]


def key_of(site, name):
    (key,) = [key for key in names(site.valkey) if name_of(key) == name]
    return key


@pytest.mark.parametrize("name", KEYS)
def test_a_damaged_key_costs_a_scan_and_a_wait_and_never_data(site, name):
    for harm in HARMS.values():
        site.require_again()
        if OTHER not in site.refs():
            site.commit(OTHER)
        with site.valkey.client() as client:
            harm(client, key_of(site, name))
        go_on(site)
    record("file systems", {f"Redis, damaged key {name}": ", ".join(HARMS)})


def go_on(site):
    before = site.refs()
    site.commit(NEXT)
    assert site.refs() == before | {NEXT}
    site.require_again()
    state = site.services.coordination.state()
    if state.evict_from_ms > state.now_ms:
        with pytest.raises((Busy, LeaseLost, StateLost)):
            site.services.run(CleanupRequest(target_bytes=0), quiet())
        assert site.refs() == before | {NEXT}, "nothing goes before builds had time to come back"
    site.pass_time()
    site.services.run(ComputeSizeRequest(), quiet())
    usage = site.services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (site.oracle.used_bytes(), 0)
    assert site.oracle.troubles() == []
    site.services.run(CleanupRequest(target_bytes=0), quiet())
    assert site.refs() == {NEEDED}
    assert site.oracle.troubles() == []
    assert site.oracle.leavings() == []


def test_every_key_there_is_was_damaged(site):
    assert {name_of(key) for key in names(site.valkey)} == set(KEYS)


def test_an_emptied_redis_deletes_nothing_for_one_lease_life_and_the_right_things_afterwards(site):
    """FLUSHALL, then a cleanup that may take everything (R-6)."""
    with site.valkey.client() as client:
        client.flushall()
    before = site.refs()
    site.services.maintenance.ensure_ready()
    state = site.services.coordination.state()
    assert state.evict_from_ms - state.now_ms > 0.9 * 1000 * max(LEASES.operation_s, LEASES.session_s)
    for _ in range(3):
        with pytest.raises(Busy, match="Redis lost its state"):
            site.services.run(CleanupRequest(target_bytes=0), quiet())
        with pytest.raises(Busy, match="Redis lost its state"):
            site.services.run(ComputeSizeRequest(), quiet())
        assert site.refs() == before
    site.require_again()  # the build came back in time
    site.pass_time()
    site.services.run(CleanupRequest(target_bytes=0), quiet())
    assert site.refs() == {NEEDED}
    assert site.oracle.troubles() == []


def test_a_count_that_no_disk_can_hold_evicts_nothing(tmp_path, valkey):
    """Above every watermark by what somebody wrote into Redis: it is counted anew before anything goes."""
    services = build(settings_for(tmp_path, leases=LEASES, quota="20M"), redis_url=valkey.url)
    try:
        for ref in (NEEDED, OTHER, NEXT):
            source = write_tree(tmp_path / ref.replace("/", "-"), {"own": ref.encode()})
            if ref == NEXT:
                with valkey.client() as client:
                    client.hset(f"caskeeper:{{{services.coordination.volume_id}}}:usage", "used", 10**15)
            services.run(CommitRequest(path=source, refs=(ref,)), quiet())
        oracle = Oracle(services.layout.root)
        assert set(oracle.refs()) == {NEEDED, OTHER, NEXT}
        assert services.coordination.usage.snapshot().used_bytes == oracle.used_bytes()
    finally:
        services.close()
