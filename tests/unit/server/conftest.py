"""The server's operation on a clock that stands, and a volume for its promises."""

import pytest
from harness.rolling import GRACE_S, Clock, Desk
from harness.volumes import bare_volume

from worker.server.rolling import Rolling
from worker.store.promises import Promises


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(clock):
    return Desk(clock)


@pytest.fixture
def volume(tmp_path):
    return bare_volume(tmp_path)


@pytest.fixture
def rolling(desk, clock, volume):
    made = Rolling(desk, Promises(volume), subject="here", grace_s=GRACE_S, clock=clock)
    yield made
    made.close()
    assert desk.open == []
