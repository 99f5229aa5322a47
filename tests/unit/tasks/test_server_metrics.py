"""What a server says of itself over HTTP while it stops."""

import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from caskeeper.config.settings import MetricsSettings
from tasks.server_metrics import ServerMetrics


@pytest.fixture
def address(caplog):
    """Of a server without a Redis."""
    caplog.set_level("INFO")
    invocation = SimpleNamespace(services=None, client=SimpleNamespace(queue=None))
    told = ServerMetrics(MetricsSettings("127.0.0.1:0", "the test"), invocation)
    told.start()
    (record,) = [record for record in caplog.records if record.getMessage() == "metrics"]
    yield told, record.fields["address"]
    told.close()


def unready(address):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}/readyz", timeout=10)
    assert refused.value.code == 503
    with refused.value:
        return refused.value.read().decode()


def test_a_server_that_stops_is_not_ready_and_lives(address):
    told, where = address
    assert "stopping" not in unready(where)
    told.stopping()
    assert unready(where) == "the server is stopping\n"
    with urllib.request.urlopen(f"http://{where}/healthz", timeout=10) as answer:
        assert answer.status == 200
