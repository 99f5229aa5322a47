"""The guard for one release of the queue's transport (queue.md 2.2)."""

from importlib.metadata import version
from types import SimpleNamespace

import pytest
from kombu.transport.redis import Channel

from tasks import transport


@pytest.fixture
def unguarded():
    guarded = ("_connparams", "_create_client")
    originals = {name: getattr(Channel, name) for name in guarded}
    yield
    for name, original in originals.items():
        setattr(Channel, name, original)


def closed_channel(connection):
    channel = Channel.__new__(Channel)
    channel.connection = connection
    return channel


@pytest.mark.parametrize("connection", [None, SimpleNamespace(client=None)])
def test_a_closed_channel_is_a_lost_connection_and_no_fault(unguarded, connection):
    assert version("kombu") == transport.GUARDED_VERSION, "look whether this release still needs the guard"
    with pytest.raises(AttributeError):
        closed_channel(connection)._connparams()
    assert transport.guard()
    with pytest.raises(ConnectionError, match="closed"):
        closed_channel(connection)._connparams()


def test_the_guard_is_put_in_place_once(unguarded):
    transport.guard()
    guarded = Channel._connparams
    transport.guard()
    assert Channel._connparams is guarded


def test_another_release_is_left_alone(unguarded, monkeypatch):
    monkeypatch.setattr(transport, "GUARDED_VERSION", "5.6.2")
    original = Channel._connparams
    assert not transport.guard()
    assert Channel._connparams is original
