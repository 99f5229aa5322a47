"""The guard for one release of the queue's transport: one client for each channel."""

from types import SimpleNamespace

import kombu
import pytest
from kombu.transport.redis import Channel

from caskeeper import channels


@pytest.fixture
def made(monkeypatch):
    """What the library was asked to make: whether it was an asynchronous one."""
    made = []

    def create_client(channel, asynchronous=False):  # noqa: FBT002 -- as the library has it
        made.append(asynchronous)
        return SimpleNamespace(connection_pool=channel.pool)

    monkeypatch.setattr(Channel, "_create_client", create_client)
    return made


def test_a_channel_keeps_its_client_until_it_has_another_pool(made):
    assert kombu.__version__ == channels.GUARDED_VERSION, "look whether this release still needs the guard"
    channels.keep_clients()
    one, other = (SimpleNamespace(pool=object()) for _ in range(2))
    kept = Channel._create_client(one)
    assert Channel._create_client(one) is kept
    assert Channel._create_client(other) is not kept
    one.pool = object()
    assert Channel._create_client(one) is not kept, "that pool was closed"
    first, second = (Channel._create_client(one, asynchronous=True) for _ in range(2))
    assert first is not second
    assert made == [False, False, False, True, True]


def test_it_is_put_in_place_once(made):
    channels.keep_clients()
    guarded = Channel._create_client
    channels.keep_clients()
    assert Channel._create_client is guarded


def test_another_release_is_left_alone(made, monkeypatch):
    original = Channel._create_client
    monkeypatch.setattr(channels, "GUARDED_VERSION", "5.6.2")
    channels.keep_clients()
    assert Channel._create_client is original
