"""The way to Redis: URLs, failures as CoordinatorUnavailable, one pool per process."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from harness.valkey import ValkeyServer

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination, StateLost
from caskeeper.coordination.connection import Connection, client_url, without_credentials
from caskeeper.errors import ConfigInvalid, CoordinatorUnavailable

LEASES = LeaseSettings()


def created(server):
    return Coordination.create(server.url, volume_id="v", epoch="e", used_bytes=0, leases=LEASES)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("redis://:secret@host:6380/2", "redis://:secret@host:6380/2"),
        ("unix:///run/s?db=3", "unix:///run/s?db=3"),
        ("redis+socket:///run/s", "unix:///run/s"),
        ("redis+socket:///run/s?virtual_host=3", "unix:///run/s?db=3"),
        ("rediss://host/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://host/0?ssl_cert_reqs=required"),
        ("rediss://host/0?ssl_ca_certs=/a/ca.crt", "rediss://host/0?ssl_ca_certs=%2Fa%2Fca.crt"),
    ],
)
def test_celery_s_way_of_writing_a_url_is_understood(given, meant):
    assert client_url(given) == meant


@pytest.mark.parametrize("url", ["", "localhost:6379", "amqp://host", "redis:/host"])
def test_a_url_of_something_else_is_a_configuration_error(url):
    with pytest.raises(ConfigInvalid, match="no way to reach Redis"):
        Connection(url)


@pytest.mark.parametrize("url", ["redis://host:port/0", "unix:///s?no_such_option=1"])
def test_a_malformed_url_is_a_configuration_error(url):
    with pytest.raises(ConfigInvalid, match="URL of Redis"):
        Connection(url).command("PING")


def test_credentials_do_not_reach_messages():
    assert without_credentials("redis://user:secret@host:1/0?password=x") == "redis://host:1/0"
    with pytest.raises(CoordinatorUnavailable) as caught:
        Connection("redis://user:secret@127.0.0.1:1/0").command("PING")
    assert "secret" not in str(caught.value)


def test_both_socket_urls_reach_the_same_database(valkey):
    created(valkey).close()
    assert Coordination.volume_of(valkey.url) == "v"
    assert Coordination.volume_of(valkey.celery_url) == "v"
    assert Coordination.volume_of(valkey.celery_url + "?virtual_host=1") is None


def test_a_server_that_may_drop_keys_is_refused():
    with ValkeyServer(options=["--maxmemory-policy", "allkeys-lru"]) as server:
        for make in (
            lambda: created(server),
            lambda: Coordination.connect(server.url, volume_id="v", leases=LEASES),
        ):
            with pytest.raises(ConfigInvalid, match="maxmemory-policy is allkeys-lru"):
                make()
        assert Coordination.volume_of(server.url) is None


def test_i10_no_answer_is_no_miss():
    server = ValkeyServer()
    with server:
        coordination = created(server)
        server.kill()
        for call in (
            coordination.ping,
            coordination.state,
            coordination.now_ms,
            coordination.usage.snapshot,
            lambda: coordination.operations.settle("op", "e", 0),
            lambda: coordination.sessions.renew("s"),
            lambda: coordination.sessions.require("s", ["k"]),
            lambda: coordination.maintenance.give_back("me", "e", 1),
            lambda: coordination.flights.take("t", "a", ttl_s=1),
            lambda: coordination.recency.touch(["r"]),
            lambda: Coordination.connect(server.url, volume_id="v", leases=LEASES),
        ):
            with pytest.raises(CoordinatorUnavailable):
                call()
        server.start()
        coordination.ping()
        coordination.close()


def test_a_server_without_memory_is_unavailable_and_nothing_is_half_done(valkey):
    coordination = created(valkey)
    with valkey.client() as raw:
        raw.config_set("maxmemory", "1")
        try:
            with pytest.raises(CoordinatorUnavailable, match="memory"):
                coordination.operations.register("op", verb="v", subject="s", host="h", reserved_bytes=5)
            assert coordination.state().ready
        finally:
            raw.config_set("maxmemory", "0")
    assert coordination.usage.snapshot().reserved_bytes == 0
    coordination.close()


def test_a_forked_child_has_connections_of_its_own(valkey):
    coordination = created(valkey)
    coordination.operations.register("parent", verb="v", subject="s", host="h")

    def work(number):
        for n in range(50):
            assert coordination.operations.register(f"{number}-{n}", verb="v", subject="s", host="h") == "e"
        os._exit(0)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(number,)) for number in range(3)]
    for child in children:
        child.start()
    for _ in range(50):
        coordination.operations.renew("parent", "e")
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(coordination.operations.list()) == 151
    coordination.close()


def test_a_closed_coordination_connects_again_when_used(valkey):
    coordination = created(valkey)
    coordination.close()
    coordination.close()
    assert coordination.state().ready
    coordination.close()


def test_importing_coordination_does_not_import_redis():
    code = "import sys, caskeeper.coordination; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_a_server_killed_and_started_from_its_log_is_another_run():
    with ValkeyServer(appendonly=True) as server:
        coordination = created(server)
        coordination.operations.register("op", verb="v", subject="s", host="h", reserved_bytes=4)
        server.kill()
        server.start()
        state = coordination.state()
        assert (state.epoch, state.lost, state.ready, state.known) == ("e", True, False, False)
        with pytest.raises(StateLost):
            coordination.operations.renew("op", "e")
        assert not coordination.operations.settle("op", "e", 4)
        grant = coordination.maintenance.acquire("me", purpose="recovery")
        assert grant.lost
        assert coordination.operations.list() == []
        coordination.close()


def test_a_clean_stop_goes_on_in_the_next_run():
    with ValkeyServer(appendonly=True) as server:
        coordination = created(server)
        coordination.operations.register("op", verb="v", subject="s", host="h", reserved_bytes=4)
        epoch = coordination.clean_stop("nonce")
        server.restart()
        assert coordination.state().lost
        assert coordination.resume(epoch=epoch, nonce="nonce")
        coordination.operations.renew("op", "e")
        assert coordination.usage.snapshot().reserved_bytes == 4
        coordination.close()
