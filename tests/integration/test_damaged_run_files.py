"""Damaged files in ``run/`` and on the volume: taken for none, or said in the ordinary sentence."""

from __future__ import annotations

import json
import os

import pytest
from harness.volumes import new_volume

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Coordination
from caskeeper.embedding import RunFiles, announced
from caskeeper.errors import CoordinatorUnavailable, VolumeFailed
from tasks.embedded import EmbeddedServer
from worker.store.closures import Closures
from worker.store.format import find_format

LEASES = LeaseSettings()
ODD = [b"", b"\xff", b"[]", b"7", b'{"url": "unix:///s"}', b"[" * 100_000, b'{"url": [], "pid": 1e999}']


@pytest.fixture
def files(tmp_path):
    made = RunFiles(str(tmp_path / "c"))
    made.make()
    return made


@pytest.fixture
def server(files):
    made = EmbeddedServer(files, LEASES)
    yield made
    made.stop()
    made.close()


def damage(files, *, harm=b"this is no command\r\n" * 50):
    folder = f"{files.folder}/appendonlydir"
    for name in os.listdir(folder):
        if not name.endswith("manifest"):
            with open(f"{folder}/{name}", "r+b") as file:
                file.write(harm)
    return folder


def test_a_damaged_append_only_file_is_set_aside(files, server):
    server.start()
    Coordination.create(server.url, volume_id="v1", epoch="e1", used_bytes=1, leases=LEASES).close()
    server.stop()
    damage(files)
    server.start()
    assert server.pid is not None
    assert Coordination.volume_of(server.url) is None
    (aside,) = [name for name in os.listdir(files.folder) if name.startswith("appendonlydir.damaged-")]
    assert os.listdir(f"{files.folder}/{aside}")


def test_a_server_that_cannot_start_for_another_reason_keeps_its_file(files, server):
    server.start()
    server.stop()
    os.mkdir(server.socket)  # nothing can listen there
    with pytest.raises(CoordinatorUnavailable):
        server.start()
    assert os.listdir(f"{files.folder}/appendonlydir")
    assert not [name for name in os.listdir(files.folder) if "damaged" in name]


@pytest.mark.parametrize("content", [*ODD, *(b'{"url": "unix:///s", "pid": %d}' % pid for pid in (0, -1))])
def test_an_odd_endpoint_is_none(files, content):
    with open(files.endpoint, "wb") as file:
        file.write(content)
    assert announced(files) is None


@pytest.mark.parametrize(
    "content",
    [
        *ODD,
        b'{"volume": 1, "epoch": "e", "nonce": "n"}',
        b'{"volume": "{} \\u0000", "epoch": "e", "nonce": "n"}',
        b'{"volume": "v", "epoch": "\\ud800", "nonce": []}',
        b'{"volume": "epoch", "epoch": "e", "nonce": "n"}',
    ],
)
def test_an_odd_mark_is_none_and_goes(files, server, content):
    with open(files.mark, "wb") as file:
        file.write(content)
    server.start()
    assert server.pid is not None
    assert not os.path.exists(files.mark)


@pytest.mark.parametrize(
    "changes",
    [{"block_bytes": 0}, {"block_bytes": -4096}, {"block_bytes": float("inf")}, {"volume_id": "{} x"}],
)
def test_a_format_with_impossible_values_is_damaged(tmp_path, changes):
    volume = new_volume(tmp_path)
    document = {**find_format(volume.layout)._asdict(), **changes}
    os.unlink(volume.layout.format)
    with open(volume.layout.format, "w", encoding="utf-8") as file:
        json.dump(document, file)
    with pytest.raises(VolumeFailed, match="FORMAT is damaged"):
        find_format(volume.layout)


def test_a_format_of_version_infinity_is_damaged(tmp_path):
    volume = new_volume(tmp_path)
    os.unlink(volume.layout.format)
    with open(volume.layout.format, "w", encoding="utf-8") as file:
        file.write('{"version": 1e999}')
    with pytest.raises(VolumeFailed, match="FORMAT is damaged"):
        find_format(volume.layout)


def test_a_closure_list_that_is_longer_than_it_says_is_damaged_and_not_read(tmp_path):
    volume = new_volume(tmp_path)
    path = volume.layout.closure("ab" * 32, "whole")
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # sparse: to read it all would fail
    assert Closures(volume).read("ab" * 32, "whole") is None


def test_a_pipe_in_the_place_of_a_closure_list_is_as_if_none_were_there(tmp_path):
    volume = new_volume(tmp_path)
    os.mkfifo(volume.layout.closure("ab" * 32, "whole"))
    assert Closures(volume).read("ab" * 32, "whole") is None
    assert list(Closures(volume).listing()) == []
