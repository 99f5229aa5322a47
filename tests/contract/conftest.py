"""What most of these tests start from: services, a server that does what it is told, and remotes of it."""

import pytest
from harness.lying_server import LyingServer
from harness.remotes import LARGE, SMALL, remotes
from harness.serving import open_services


@pytest.fixture
def services(tmp_path, valkey):
    """The services of a new volume, on a real Valkey."""
    made = open_services(tmp_path, valkey.url)
    yield made
    made.close()


@pytest.fixture
def server():
    with LyingServer(SMALL, LARGE) as running:
        yield running


@pytest.fixture
def opened():
    with remotes() as make:
        yield make


@pytest.fixture
def blobs(server, opened):
    return opened(server.url).blobs
