"""The pages over HTTP."""

import http.client
import urllib.request

import pytest

from worker.telemetry.endpoint import Endpoint, bind


@pytest.fixture
def endpoint():
    def render():
        raise KeyError("a fault")

    made = Endpoint(bind("127.0.0.1:0"), render=render, sick=lambda: "", unready=lambda: "")
    made.start()
    yield made
    made.close()


def test_a_page_that_cannot_be_made_is_in_the_log(endpoint, caplog):
    with pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(f"http://{endpoint.address}/metrics", timeout=10)
    (record,) = caplog.records
    assert record.exc_info[0] is KeyError
    with urllib.request.urlopen(f"http://{endpoint.address}/healthz", timeout=10) as answer:
        assert answer.status == 200
