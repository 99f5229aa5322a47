"""A fleet that meets its limits, seen from the command line: numbers, names, and what goes by itself."""

import json
import os

import pytest
from harness.commands import until
from harness.scene import KEPT, assert_failure, can_mount, disk, done, finish, scene_in, tmpfs

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    room = {"quota": "8M", "headroom": "0", "reserved-disk-space": "0"}
    with scene_in(tmp_path_factory.mktemp("limits"), cache=room) as made:
        yield made


@pytest.fixture(autouse=True)
def _tidy(scene):
    yield
    scene.tidy()


def test_ac44_too_full_names_the_numbers_the_holders_and_the_configuration_file(scene):
    done(scene.start("commit", scene.tree("big", {"large": os.urandom(5 * MIB)}), "demo/big/b"))
    done(scene.start("pin", "demo/big/*"))
    session = done(scene.start("session", "open", "--label", "nightly", "--life", "10min")).strip()
    try:
        done(scene.start("session", "require", session, KEPT))
        tree = scene.tree("more", {"large": os.urandom(5 * MIB)})
        said = scene.fails(
            "commit",
            tree,
            "demo/more/m",
            error="CacheTooFull",
            holds=["quota 8M, used ", f"session {session}", "pin demo/big/* keeps 1 artifact of 5M"],
        )
        assert "raise `cache: quota` in " in said["way_out"]
        assert str(scene.config) in said["way_out"]
        assert "caskeeper unpin 'demo/big/*'" in said["way_out"]
    finally:
        finish(scene.start("session", "close", session))
        done(scene.start("unpin", "demo/big/*"))
        done(scene.start("remove", "demo/big/b"))


def test_ac37_a_task_that_leaves_the_cache_too_full_has_it_cleaned_without_anybody_asking(scene):
    room = {"quota": "8M", "headroom": "2M", "reserved-disk-space": "0", "low-watermark": "50%"}
    with disk(scene, "watermark", database=10, cache=room) as other:
        for n in range(4):
            tree = scene.tree(f"part{n}", {"large": os.urandom(19 * MIB // 10)})
            done(other.start("commit", tree, f"demo/part{n}/k"))
        until(lambda: other.oracle.used_bytes() <= 3 * MIB, wait_s=20)
        assert other.refs() == ["demo/part3/k"]
        other.assert_sound()


def test_ac2_a_quota_that_cannot_be_stops_every_command_and_the_worker(scene):
    config = scene.configure("impossible", cache={"quota": "1G"})
    for words in (["worker"], ["list"], ["status"], ["du"]):
        failed = finish(scene.start("--json", *words, config=config))
        document = json.loads(failed.stdout)
        assert (failed.returncode, document["error"]) == (17, "ConfigInvalid"), words
        assert "at least 2G is required" in document["what"]
        assert document["where"].startswith(f"{config} [line ")


def test_few_inodes_evict_what_is_oldest_and_the_last_one_gone_does_not_stop_a_cleanup(scene):
    """On a real file system with 1600 inodes, where the kernel lets us mount one; 768 are folders."""
    if not can_mount():
        # tests/integration/test_quota.py shows the same with what such a file system says
        pytest.xfail("small file systems cannot be mounted here")
    plenty = {"quota": "infinity", "reserved-disk-space": "0", "headroom": "0"}
    within = tmpfs("size=64m,nr_inodes=1600")
    trees = [scene.tree(f"many{n}", {str(m): f"{n} {m}".encode() for m in range(200)}) for n in range(5)]
    with disk(scene, "inodes", database=9, cache=plenty, within=within) as full:
        for n, tree in enumerate(trees):
            done(full.start("commit", tree, f"demo/many{n}/k"))
        assert "demo/many4/k" in full.refs()
        assert "demo/many0/k" not in full.refs()
        full.assert_sound()
        use_up_inodes(f"{full.seen}/somebody-elses")
        before = len(full.refs())
        done(full.start("cleanup"))
        assert len(full.refs()) < before
        full.assert_sound()
        coordination = full.coordination()  # the disk is mounted for the worker alone
        try:
            coordination.sessions.open("build-1", life_s=600)
            coordination.sessions.require("build-1", ["k"])
            use_up_inodes(f"{full.seen}/somebody-elses-too")
            failed = full.both("commit", trees[0], "demo/many0/k")
            assert_failure(*failed, error="NoSpace", holds=[full.cachedir])
            coordination.sessions.close("build-1")
        finally:
            coordination.close()
        done(full.start("cleanup"))
        full.assert_sound()


def use_up_inodes(folder):
    os.mkdir(folder)
    n = 0
    try:
        while True:
            os.close(os.open(f"{folder}/{n}", os.O_CREAT))
            n += 1
    except OSError:
        return
