"""A client's way to its Redis: what is silent is waited for once, and an empty database is no outage."""

import socket

import pytest
from harness.valkey import ValkeyServer

from caskeeper import outage, reaching
from caskeeper.config import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.errors import CoordinatorUnavailable

LEASES = LeaseSettings()


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Nobody else's word about any Redis."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(outage, "_found", {})


@pytest.mark.parametrize("ask", [lambda url: reaching.reach(url, LEASES), reaching.knock])
def test_a_silent_redis_is_waited_for_by_one_command_only(monkeypatch, tmp_path, ask):
    monkeypatch.setattr(reaching, "_ANSWER_S", 0.3)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/silent.sock")
        silent.listen()
        url = f"unix://{tmp_path}/silent.sock"
        with pytest.raises(CoordinatorUnavailable):
            ask(url)
        monkeypatch.setattr(outage, "_found", {})  # as another process, which has only the file
        with pytest.raises(CoordinatorUnavailable, match="not asked again"):
            ask(url)


def test_an_empty_database_is_no_outage_and_what_answers_is_forgiven():
    with ValkeyServer() as valkey:
        outage.failed(valkey.url, silent=False)
        reaching.knock(valkey.url)
        with pytest.raises(CoordinatorUnavailable, match="no worker has used this Redis"):
            reaching.reach(valkey.url, LEASES)
        with pytest.raises(CoordinatorUnavailable, match="no worker has used this Redis"):
            reaching.reach(valkey.url, LEASES)
        Coordination.create(valkey.url, volume_id="v", epoch="e", used_bytes=0, leases=LEASES).close()
        found = reaching.reach(valkey.url, LEASES)
        assert found.volume_id == "v"
        found.close()
        assert outage.patience_s(valkey.url) == outage.PATIENCE_S, "it is waited for again as ever"
