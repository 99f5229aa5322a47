"""The order in which a worker begins, and its file for health checks."""

from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from caskeeper.config import Settings
from caskeeper.contract import CleanupRequest
from tasks import app as module
from tasks.app import HEARTBEAT_FILE, serve
from tasks.delivery import DeliveryHeartbeat
from tasks.process import Report


@pytest.fixture
def done(monkeypatch):
    """Begins a worker that ends at once; what was done, in order."""
    monkeypatch.setattr(module, "signals", MagicMock())
    monkeypatch.setattr(module, "guard", lambda: True)
    monkeypatch.setattr(DeliveryHeartbeat, "touch", DeliveryHeartbeat.touch)
    done = []

    def begin(name):
        return lambda *_, **__: done.append(name)

    def make(**_):
        done.append("worker")
        return SimpleNamespace(start=begin("start"), exitcode=0)

    made = SimpleNamespace(
        app=SimpleNamespace(Worker=make, steps=defaultdict(set)),
        wish=SimpleNamespace(ask=begin("ask")),
        delivery=SimpleNamespace(stopping=SimpleNamespace(set=None, is_set=lambda: True)),
        provider=None,
    )
    names = {"start": "fork", "stop": "stop", "beat": "beat", "renewed": "renewed"}
    watch = SimpleNamespace(**{name: begin(what) for name, what in names.items()})
    settings = Settings(cachedir="/nonexistent")
    wanted = CleanupRequest()
    serve(made, settings, lanes=("pull",), concurrency=1, report=Report(), watch=watch, wanted=wanted)
    return done


def test_nothing_is_asked_of_redis_before_the_watching_process_is_forked(done):
    assert done == ["fork", "ask", "worker", "start", "stop"]


def test_a_heartbeat_file_that_cannot_be_written_is_no_lost_connection(monkeypatch, request, caplog):
    monkeypatch.setenv(HEARTBEAT_FILE, "/nonexistent/file")
    request.getfixturevalue("done")
    DeliveryHeartbeat.touch()  # an OSError here would make the consumer connect again, for ever
    assert "heartbeat file cannot be written" in caplog.text


def test_the_heartbeat_file_is_touched(monkeypatch, request, tmp_path):
    monkeypatch.setenv(HEARTBEAT_FILE, str(tmp_path / "alive"))
    request.getfixturevalue("done")
    DeliveryHeartbeat.touch()
    assert (tmp_path / "alive").exists()
