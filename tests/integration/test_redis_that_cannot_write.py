"""Redis answers and refuses every write: each command says so and what to do, and none is a fault of ours."""

import os

import pytest
from harness.commands import Place, until
from harness.valkey import ValkeyServer

WAY_OUT = "free space on the disk of Redis"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """With a worker and an artifact; then Redis' snapshot fails, for a folder is in its place."""
    with ValkeyServer(options=("--dbfilename", "blocked")) as valkey:
        os.mkdir(f"{valkey.folder}/blocked")
        made = Place(tmp_path_factory.mktemp("misconf"), valkey)
        try:
            made.worker()
            tree = made.tree("one", {"file": b"content"})
            assert made.run("commit", tree, "demo/one/1").returncode == 0
            with valkey.client() as raw:
                raw.config_set("save", "3600 1")
                raw.bgsave()
                until(lambda: raw.info("persistence")["rdb_last_bgsave_status"] == "err")
            yield made
            with valkey.client() as raw:
                raw.config_set("save", "")
        finally:
            made.end()


def test_doctor_names_it_and_its_remedy(place):
    code, document = place.ask("doctor")
    assert code == 3
    bad = {(one["area"], one["name"]): one for one in document["checks"] if one["verdict"] == "trouble"}
    assert "free space on its disk" in bad["redis", "persistence"]["remedy"]
    assert WAY_OUT in bad["queue", "reachable"]["remedy"]


@pytest.mark.parametrize("words", [("list",), ("show", "demo/one/1"), ("explain", "demo/one/1"), ("status",)])
def test_who_only_reads_is_answered(place, words):
    code, document = place.ask(*words)
    assert code == 0, document
    if words == ("status",):
        assert WAY_OUT in document["remark"]


@pytest.mark.parametrize("words", [("cleanup",), ("remove", "demo/one/1"), ("verify",)])
def test_what_needs_the_queue_says_what_to_do(place, words):
    code, document = place.ask(*words)
    assert (code, document["error"]) == (25, "CoordinatorUnavailable"), document
    assert "MISCONF" in document["what"]
    assert WAY_OUT in document["way_out"]
