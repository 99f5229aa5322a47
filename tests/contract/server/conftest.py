"""A new volume, a server on it, and a peer that talks to it."""

import pytest
from harness.actions import Actions
from harness.serving import open_services, serving


@pytest.fixture
def services(tmp_path, valkey):
    """The services of a new volume, on a real Valkey."""
    made = open_services(tmp_path, valkey.url)
    yield made
    made.close()


@pytest.fixture
def peer(services):
    """Talks to a writable server."""
    with serving(services) as made:
        yield made


@pytest.fixture
def reader(services):
    """Talks to a read-only server."""
    with serving(services, read_only=True) as made:
        yield made


@pytest.fixture
def actions(peer):
    return Actions(peer)
