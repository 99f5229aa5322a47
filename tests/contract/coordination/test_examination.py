"""What `doctor` reads of a real server is what that server is."""

import os
import time

import pytest
from harness.valkey import ValkeyServer

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.coordination.examination import examine_redis
from caskeeper.errors import CoordinatorUnavailable


@pytest.fixture(scope="module")
def server():
    with ValkeyServer(appendonly=True) as made:
        yield made


@pytest.fixture
def clean(server):
    with server.client() as raw:
        raw.flushall()
        yield raw


def coordination(server):
    return Coordination.create(
        server.url, volume_id="volume-1", epoch="e", used_bytes=0, leases=LeaseSettings()
    )


def test_a_good_server_without_a_state(server, clean):
    facts = examine_redis(server.url)
    assert facts.version.startswith("valkey ")
    assert (facts.role, facts.policy, facts.memory_limit) == ("master", "noeviction", 0)
    assert (facts.appends, facts.saves, facts.save_failed) == (True, False, "")
    assert abs(facts.clock_ahead_s) < 5
    assert (facts.owner, facts.state) == (None, None)
    assert clean.keys("*") == [], "looking leaves nothing"


def test_the_state_of_the_volume_it_belongs_to(server, clean):
    made = coordination(server)
    assert examine_redis(server.url).owner == "volume-1"
    assert examine_redis(server.url).state.ready
    clean.delete("caskeeper:{volume-1}:usage")
    before = sorted(clean.keys("*"))
    assert examine_redis(server.url).state.lost
    assert sorted(clean.keys("*")) == before, "it is left to a worker to recover it"
    made.close()


def test_settings_that_are_not_fit_are_seen(server, clean):
    clean.config_set("maxmemory-policy", "allkeys-lru")
    clean.config_set("maxmemory", "1gb")
    clean.config_set("save", "3600 1")
    try:
        facts = examine_redis(server.url)
        assert (facts.policy, facts.memory_limit, facts.saves) == ("allkeys-lru", 2**30, True)
        assert 0 < facts.memory_used < facts.memory_limit
    finally:
        clean.config_set("maxmemory-policy", "noeviction")
        clean.config_set("maxmemory", "0")
        clean.config_set("save", "")


def test_a_save_that_failed_is_seen(server, clean):
    # No new file can stand where a folder does.
    os.mkdir(f"{server.folder}/dump.rdb")
    open(f"{server.folder}/dump.rdb/held", "wb").close()
    try:
        clean.bgsave()
        while clean.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        assert examine_redis(server.url).save_failed == "rdb last bgsave"
    finally:
        os.unlink(f"{server.folder}/dump.rdb/held")
        os.rmdir(f"{server.folder}/dump.rdb")


def test_a_user_who_may_not_ask_for_the_configuration_is_told_all_the_same(server, clean):
    clean.acl_setuser(
        "plain", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config"]
    )
    try:
        facts = examine_redis(f"unix://plain:x@{server.socket}")
        assert (facts.saves, facts.policy) == (None, "noeviction")
    finally:
        clean.acl_deluser("plain")


def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(CoordinatorUnavailable):
        examine_redis(f"unix://{tmp_path}/none")
