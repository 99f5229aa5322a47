"""What several of these tests stand on."""

import pytest

from caskeeper.queue import Queue


@pytest.fixture
def queue(server):
    """The client's door to the queue of a test's own ``server``."""
    queue = Queue(server.url)
    yield queue
    queue.close()
