"""FORMAT damaged or deleted: the next start writes it anew where it is certain which volume this is (R13)."""

import json
import os

import pytest
from harness.damage import EVERY
from harness.fleet import Oracle, fleet, write_tree

from caskeeper.contract import CommitRequest, ComputeSizeRequest, VerifyRequest
from caskeeper.errors import ConfigInvalid, VolumeFailed
from worker.protocols import quiet
from worker.store.format import find_format

REF = "demo/hello/k1"
#: Flipped may still be whole JSON, of another volume or version: that is refused. A link is followed.
HARM = sorted(set(EVERY) - {"flipped", "link"})


@pytest.fixture
def layout(tmp_path, valkey):
    """Of a volume with an artifact, which nobody uses now."""
    write_tree(tmp_path / "src", {"file": b"content"})
    with fleet(tmp_path, valkey.url) as services:
        services.run(CommitRequest(path=str(tmp_path / "src"), refs=(REF,)), quiet())
        return services.layout


def is_as_it_was(tmp_path, valkey, before):
    with fleet(tmp_path, valkey.url) as services:
        assert services.coordination.volume_id == before.volume_id
        assert [line.ref for line in services.listing.list()] == [REF]
        used = services.coordination.usage.snapshot().used_bytes
        assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used
        oracle = Oracle(services.layout.root)
        assert oracle.troubles() == oracle.leavings() == []


@pytest.mark.parametrize("harm", HARM)
def test_it_is_written_anew(tmp_path, valkey, layout, harm):
    before = find_format(layout)
    EVERY[harm](layout.format)
    is_as_it_was(tmp_path, valkey, before)
    after = find_format(layout)
    assert (after.volume_id, after.block_bytes, after.uid) == before[:3]
    assert after.epoch != before.epoch  # a loss of Redis is waited for
    is_as_it_was(tmp_path, valkey, before)


def test_what_says_no_version_is_damaged_and_written_anew(tmp_path, valkey, layout):
    before = find_format(layout)
    os.unlink(layout.format)
    with open(layout.format, "w", encoding="ascii") as file:
        json.dump({**before._asdict(), "version": None}, file)
    is_as_it_was(tmp_path, valkey, before)


@pytest.mark.parametrize("missing", ["COORDINATOR", "the state in Redis", "the epoch"])
def test_in_doubt_nothing_is_written(tmp_path, valkey, layout, missing):
    """Which volume this is, and whether it is the one that Redis knows, has to be certain."""
    if missing == "COORDINATOR":
        os.unlink(layout.coordinator)
    elif missing == "the epoch":
        with open(layout.coordinator, encoding="ascii") as file:
            document = json.load(file)
        os.unlink(layout.coordinator)
        with open(layout.coordinator, "w", encoding="ascii") as file:
            json.dump({**document, "epoch": "another"}, file)
    else:
        with valkey.client() as client:
            client.flushall()
    EVERY["truncated"](layout.format)
    with open(layout.format, "rb") as file:
        damaged = file.read()
    with pytest.raises(VolumeFailed, match="damaged"), fleet(tmp_path, valkey.url):
        pass
    with open(layout.format, "rb") as file:
        assert file.read() == damaged


def test_an_empty_folder_is_not_the_volume(tmp_path, valkey, layout):
    """It is not mounted."""
    os.rename(layout.root, f"{layout.root}-elsewhere")
    os.mkdir(layout.root)
    with pytest.raises(ConfigInvalid, match="there is no volume here"), fleet(tmp_path, valkey.url):
        pass
    assert os.listdir(layout.root) == []


def test_gone_while_a_fleet_runs_the_next_verb_writes_it_anew(tmp_path, valkey):
    write_tree(tmp_path / "src", {"file": b"content"})
    with fleet(tmp_path, valkey.url) as services:
        services.run(CommitRequest(path=str(tmp_path / "src"), refs=(REF,)), quiet())
        before = find_format(services.layout)
        os.unlink(services.layout.format)
        assert services.run(VerifyRequest(), quiet()).findings == ()
        after = find_format(services.layout)
        assert (after.volume_id, after.block_bytes, after.uid) == before[:3]


def test_gone_in_doubt_the_sentence_names_the_redis_that_knows(tmp_path, valkey, layout):
    os.unlink(layout.format)
    with valkey.client() as client:
        client.flushall()
    with (
        pytest.raises(VolumeFailed, match="FORMAT is gone") as told,
        fleet(tmp_path, valkey.url),
    ):
        pass
    assert valkey.socket in told.value.way_out
    assert not os.path.lexists(layout.format)
