"""One volume, two Redis databases: the second is refused, and a lost one is not taken for a second (0005)."""

from __future__ import annotations

import json
import os

import pytest
from harness.fleet import Oracle, fleet, settings_for
from harness.services import make_tree
from harness.valkey import ValkeyServer

from caskeeper.contract import CommitRequest, ComputeSizeRequest
from caskeeper.coordination.connection import address
from caskeeper.errors import ConfigInvalid
from worker.protocols import quiet
from worker.wiring import build

TWO = "two Redis databases serve this volume"


@pytest.fixture
def second():
    with ValkeyServer() as server:
        yield server


def written(folder):
    with open(f"{folder}/cache/COORDINATOR", encoding="utf-8") as file:
        return json.load(file)


def committed(services, folder):
    services.run(CommitRequest(path=make_tree(folder / "src"), refs=("p/e/k",)), quiet())


def test_a_new_volume_says_which_database_it_is_under(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        assert written(tmp_path) == {"epoch": services.coordination.state().epoch, "redis": valkey.url}
        used = services.coordination.usage.snapshot().used_bytes
        assert services.run(ComputeSizeRequest(), quiet()).estimate_bytes == used
        assert Oracle(services.layout.root).used_bytes() == used
        assert not [name for name in os.listdir(services.layout.run) if "COORDINATOR" in name]


def test_an_empty_database_is_refused_while_another_serves_the_volume(tmp_path, valkey, second):
    with fleet(tmp_path, valkey.url) as services:
        before = written(tmp_path)
        with pytest.raises(ConfigInvalid, match=TWO) as refused:
            build(settings_for(tmp_path), redis_url=second.url)
        assert valkey.url in str(refused.value)
        assert refused.value.exit_code == 17
        assert written(tmp_path) == before
        committed(services, tmp_path)


def test_a_database_that_was_lost_begins_again_and_says_so(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        before = services.coordination.state().epoch
        with valkey.client() as client:
            client.flushall()
        services.maintenance.ensure_ready()
        assert written(tmp_path)["epoch"] == services.coordination.state().epoch != before
    with fleet(tmp_path, valkey.url) as services:
        committed(services, tmp_path)


def test_a_database_that_is_gone_for_good_can_be_replaced(tmp_path, valkey):
    with ValkeyServer() as gone, fleet(tmp_path, gone.url):
        pass
    with fleet(tmp_path, valkey.url) as services:
        assert written(tmp_path) == {"epoch": services.coordination.state().epoch, "redis": valkey.url}


def test_the_database_that_was_replaced_is_refused_when_it_comes_back(tmp_path, valkey, second):
    with fleet(tmp_path, valkey.url) as first:
        os.unlink(first.layout.coordinator)  # as if the second had not been able to reach this one
        with fleet(tmp_path, second.url):
            with pytest.raises(ConfigInvalid, match=TWO) as refused:
                build(settings_for(tmp_path), redis_url=valkey.url)
            assert second.url in str(refused.value)
            with pytest.raises(ConfigInvalid, match=TWO):
                first.run(ComputeSizeRequest(), quiet())


def test_a_database_that_demands_a_password_counts_as_the_one(tmp_path, valkey):
    with ValkeyServer() as first:
        with fleet(tmp_path, first.url):
            pass
        with first.client() as client:
            client.config_set("requirepass", "secret")
        with pytest.raises(ConfigInvalid, match=TWO):
            build(settings_for(tmp_path), redis_url=valkey.url)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b'{"epoch": 1, "redis": []}'])
def test_a_volume_without_a_readable_file_gets_one_from_its_database(tmp_path, valkey, content):
    with fleet(tmp_path, valkey.url) as services:
        path = services.layout.coordinator
    os.unlink(path)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    with fleet(tmp_path, valkey.url) as services:
        services.run(ComputeSizeRequest(), quiet())
        assert written(tmp_path)["epoch"] == services.coordination.state().epoch


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://me:secret@host:6380/2", "redis://host:6380/2"),
        ("redis+socket:///a/s?virtual_host=3&password=secret", "unix:///a/s?db=3"),
        ("unix://:secret@/a/s?db=1", "unix:///a/s?db=1"),
    ],
)
def test_an_address_has_the_database_and_no_credentials(url, expected):
    assert address(url) == expected
