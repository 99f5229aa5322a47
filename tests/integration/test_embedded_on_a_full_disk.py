"""The embedded server on a full disk: a cleanup needs it to make room, so the ballast goes first."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import redis
from harness.commands import until
from harness.fleet import fleet, settings_for
from harness.volumes import new_volume

from caskeeper.config import LeaseSettings
from caskeeper.embedding import RunFiles
from tasks import embedded
from tasks.embedded import EmbeddedServer
from worker.store.format import BALLAST_BYTES, drop_ballast, make_ballast
from worker.store.volume import Space, Volume
from worker.wiring import open_volume


@pytest.fixture
def volume(tmp_path):
    made = new_volume(tmp_path)
    make_ballast(made)
    return made


@pytest.fixture
def server(volume):
    made = EmbeddedServer(RunFiles(volume.layout.root), LeaseSettings())
    yield made
    made.stop()
    made.close()


def is_full(monkeypatch):
    full = SimpleNamespace(f_bavail=0, f_frsize=4096)
    own = SimpleNamespace(**{**vars(os), "statvfs": lambda _path: full})
    monkeypatch.setattr(embedded, "os", own)


@contextmanager
def refusing_writes(server, volume):
    """As it does when it cannot write its file: a folder stands in the place of its snapshot."""
    os.mkdir(f"{volume.layout.run}/dump.rdb")
    with redis.Redis(unix_socket_path=server.socket) as raw:
        raw.config_set("save", "3600 1")
        raw.bgsave()
        until(lambda: raw.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield
        raw.config_set("save", "")
    assert server.refusal() == ""


def test_a_server_that_cannot_write_gets_the_ballast_and_then_says_what_to_do(server, volume, monkeypatch):
    server.start()
    assert server.refusal() == ""
    with refusing_writes(server, volume):
        assert "its log says why" in server.refusal(), "the disk is not full"
        assert os.path.exists(volume.layout.ballast)
        is_full(monkeypatch)
        assert server.refusal() == "", "it may write again"
        assert not os.path.exists(volume.layout.ballast)
        told = server.refusal()
    assert "the disk is full" in told
    assert "`caskeeper cleanup` makes room" in told
    assert volume.layout.root in told


def test_on_a_full_disk_the_ballast_goes_before_the_server_starts(server, volume, monkeypatch):
    is_full(monkeypatch)
    server.start()
    assert not os.path.exists(volume.layout.ballast)


def test_a_disk_that_is_full_without_a_volume_is_left_alone(tmp_path, monkeypatch):
    files = RunFiles(f"{tmp_path}/cache")
    files.make()
    with open(f"{tmp_path}/cache/ballast", "wb") as file:
        file.write(b"somebody's")
    is_full(monkeypatch)
    server = EmbeddedServer(files, LeaseSettings())
    server.start()
    server.stop()
    server.close()
    assert os.path.exists(f"{tmp_path}/cache/ballast")


@pytest.mark.parametrize(("free", "taken"), [(2 * BALLAST_BYTES - 1, False), (2 * BALLAST_BYTES, True)])
def test_a_start_takes_the_ballast_back_only_where_as_much_again_stays_free(
    tmp_path, valkey, monkeypatch, free, taken
):
    """Else the worker that is to make room would fill the disk of the embedded server again."""
    with fleet(tmp_path, valkey.url) as services:
        drop_ballast(services.volume)
    monkeypatch.setattr(Volume, "space", lambda _self: Space(10**9, free, 1000, 900))
    volume, coordination = open_volume(settings_for(tmp_path), redis_url=valkey.url)
    coordination.close()
    assert os.path.exists(volume.layout.ballast) == taken
