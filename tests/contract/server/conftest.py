"""A server on a new volume, and a peer that talks to it."""

import pytest
from harness.actions import Actions
from harness.serving import serving


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
