"""What status knows of the waiting period after Redis was emptied (safety.md section 7)."""

import redis
from harness.fleet import fleet, quick


def test_the_waiting_period_is_told_with_the_time_that_is_left(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, leases=quick(session_s=300.0)) as services:
        assert services.status().waiting_s == 0
        client = redis.Redis.from_url(valkey.url)
        client.flushall()
        client.close()
        services.maintenance.ensure_ready()
        assert 200 < services.status().waiting_s <= 300
