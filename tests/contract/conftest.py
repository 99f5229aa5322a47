"""What most tests of worker.remote start from: a server that does what it is told, and remotes of it."""

import pytest
from harness.lying_server import LyingServer
from harness.remotes import LARGE, SMALL, remotes


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
