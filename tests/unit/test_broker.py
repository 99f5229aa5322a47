"""How every process speaks to the queue."""

import pytest

from caskeeper.broker import broker_settings, broker_url, lane_queues
from caskeeper.errors import ConfigInvalid


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://h:6379/2", "redis://h:6379/2"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock"),
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("redis+socket:///run/v.sock?virtual_host=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("rediss://u:p@h:1/0", "rediss://u:p@h:1/0?ssl_cert_reqs=required"),
        ("rediss://h:1/0?ssl_cert_reqs=none", "rediss://h:1/0?ssl_cert_reqs=none"),
    ],
)
def test_an_address_in_the_form_the_queue_reads(given, expected):
    assert broker_url(given) == expected
    assert broker_url(expected) == expected


@pytest.mark.parametrize("wrong", ["localhost", "amqp://h", ""])
def test_what_is_no_redis_is_refused(wrong):
    with pytest.raises(ConfigInvalid):
        broker_url(wrong)


def test_lanes_in_their_order_and_a_prompt_sweep():
    settings = broker_settings("redis://h", visibility_timeout_s=9.0)
    options = settings["broker_transport_options"]
    assert options["queue_order_strategy"] == "priority"
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (1, 1)
    assert options["visibility_timeout"] == 9.0
    assert lane_queues() == ("caskeeper.pull", "caskeeper.local", "caskeeper.push", "caskeeper.maintenance")
