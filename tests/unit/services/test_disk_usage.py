from __future__ import annotations

import os

import pytest
from harness.services import fake_services
from harness.trees import MemoryTree

from caskeeper.contract import CommitRequest, ExtractRequest, RemoveRequest
from worker.closure import WHOLE, Scope
from worker.protocols import quiet
from worker.services.disk_usage import checked_out_bytes

SHARED, OWN = b"shared" * 2000, b"own" * 1000


@pytest.fixture
def services(tmp_path):
    """``a`` twice under two keys, with one file twice; ``b`` shares that file."""
    made = fake_services(tmp_path, urls=["http://a"])
    for name, files in {"a": {"one": SHARED, "two": SHARED, "own": OWN}, "b": {"one": SHARED}}.items():
        (tmp_path / name).mkdir()
        for path, content in files.items():
            (tmp_path / name / path).write_bytes(content)
    made.run(CommitRequest(path=f"{tmp_path}/a", refs=("demo/a/1", "demo/a/2")), quiet())
    made.run(CommitRequest(path=f"{tmp_path}/b", refs=("demo/b/1",)), quiet())
    yield made
    made.close()


def sizes(line):
    return (line.logical_bytes, line.unique_bytes, line.physical_bytes)


def test_logical_unique_and_physical_of_each_ref_and_in_all(services):
    charge = services.volume.charge
    folder = charge(1)
    a = (
        2 * len(SHARED) + len(OWN),
        charge(len(OWN)) + folder,
        charge(len(SHARED)) + charge(len(OWN)) + folder,
    )
    b = (len(SHARED), folder, charge(len(SHARED)) + folder)
    usage = services.disk_usage()
    assert {line.ref: sizes(line) for line in usage.refs} == {"demo/a/1": a, "demo/a/2": a, "demo/b/1": b}
    assert [line.ref for line in usage.refs] == ["demo/a/1", "demo/a/2", "demo/b/1"]
    everything = charge(len(SHARED)) + charge(len(OWN)) + 2 * folder
    assert sizes(usage) == (a[0] + b[0], everything, everything)


def test_a_pattern_selects_and_what_is_left_out_still_shares(services):
    usage = services.disk_usage("*/b/*")
    assert [line.ref for line in usage.refs] == ["demo/b/1"]
    assert sizes(usage) == sizes(usage.refs[0])
    assert usage.unique_bytes < usage.physical_bytes
    nothing = services.disk_usage("nothing")
    assert (nothing.refs, sizes(nothing)) == ((), (0, 0, 0))


def test_an_executable_copy_is_on_the_disk_too(services, tmp_path):
    os.chmod(tmp_path / "b" / "one", 0o755)
    services.run(CommitRequest(path=f"{tmp_path}/b", refs=("demo/b/1",)), quiet())
    before = services.disk_usage("demo/b/1").physical_bytes
    services.run(ExtractRequest(ref="demo/b/1"), quiet())
    assert services.disk_usage("demo/b/1").physical_bytes == before + services.volume.charge(len(SHARED))


def test_what_a_removal_frees_is_what_is_unique(services):
    unique = services.disk_usage("demo/a/*").unique_bytes
    for folder, _folders, names in os.walk(f"{services.layout.root}/cas"):
        for name in names:
            os.utime(f"{folder}/{name}", ns=(1, 0))  # nothing is young
    freed = services.run(RemoveRequest(refs=("demo/a/1", "demo/a/2")), quiet()).freed_bytes
    names_and_list = 3 * services.volume.charge(1)
    assert freed == unique + names_and_list


def test_of_a_damaged_artifact_nothing_is_claimed(services):
    root = services.listing.list("demo/b/1")[0].root
    closure = services.layout.closure(root.split("/")[0], "whole")
    os.unlink(closure)
    os.unlink(services.layout.object(root.split("/")[0]))
    usage = services.disk_usage()
    assert {line.ref: sizes(line) for line in usage.refs}["demo/b/1"] == (None, None, None)
    assert usage.physical_bytes > 0


def test_a_partial_artifact_counts_as_the_part_it_is(tmp_path):
    tree = MemoryTree()
    root = tree.folder(
        f=b"1234", left=tree.folder(g=b"12"), some=tree.folder(h=b"1", i=tree.folder(j=b"123"))
    )
    assert checked_out_bytes(root, WHOLE, tree.read) == 10
    assert checked_out_bytes(root, Scope.of(["left"]), tree.read) == 8
    assert checked_out_bytes(root, Scope.of(["left", "some"], ["some/i"]), tree.read) == 7


def test_few_messages_that_unfold_into_very_many_are_summed_without_unfolding():
    tree = MemoryTree()
    at = tree.folder(f=b"12")
    for _ in range(20):
        at = tree.folder(a=at, b=at)
    assert checked_out_bytes(at, WHOLE, tree.read) == 2 * 2**20
    assert len(tree.reads) < 100
