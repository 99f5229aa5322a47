"""A server that is told to end before it serves."""

import os
import signal

import pytest
from harness.commands import place_in, start, until
from harness.fleet import fleet

from caskeeper.config.settings import LeaseSettings
from caskeeper.layout import Layout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_waits_for_redis_to_be_brought_back_ends_when_it_is_told_to(tmp_path, number):
    with place_in(tmp_path) as place, fleet(tmp_path, place.valkey.url, leases=LeaseSettings()) as services:
        config = place.configure(cachedir=services.layout.root)
        with place.valkey.client() as client:
            client.flushall()
            # Somebody is at it and does not get on.
            services.coordination.maintenance.acquire("somebody", purpose="recovery")
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            server = start("--config", config, "server", "--listen", "127.0.0.1:0")
            until(lambda: client.info("commandstats")["cmdstat_evalsha"]["calls"] > before + 5, wait_s=50)
        server.send_signal(number)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "", "")
    assert os.path.isdir(Layout(services.layout.root).staging)
