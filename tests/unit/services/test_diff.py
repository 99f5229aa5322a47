"""AC-60 and D-28."""

from __future__ import annotations

import os

import pytest
from harness.services import fake_services, make_tree
from harness.trees import MemoryTree

from caskeeper.contract import (
    CommitRequest,
    DiffRequest,
    DiffResult,
    LinkChange,
    ModeChange,
    PullRequest,
    PushRequest,
    TypeChange,
)
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, Cancelled, InvalidRequest, PartialArtifact
from worker.closure import EVERYTHING, MAX_DEPTH
from worker.protocols import Context, quiet
from worker.services import diff as module
from worker.services.diff import Side, compare

A, B = "demo/hello/a", "demo/hello/b"


def difference(old, new, tree=None):
    tree = tree or MemoryTree()
    return compare(Side(old, EVERYTHING), Side(new, EVERYTHING), tree.read, check=lambda: None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"f": b"1"}, {"f": b"1"}, {}),
        ({"f": b"1"}, {"f": b"2"}, {"modified": ("f",)}),
        ({"f": b"1"}, {}, {"removed": ("f",)}),
        ({}, {"f": b"1"}, {"added": ("f",)}),
        ({"f": b"1"}, {"_x_f": b"1"}, {"modes": (ModeChange(path="f", executable=True),)}),
        (
            {"_x_f": b"1"},
            {"f": b"2"},
            {"modified": ("f",), "modes": (ModeChange(path="f", executable=False),)},
        ),
        ({"l": "x"}, {"l": "y"}, {"symlinks": (LinkChange(path="l", before="x", after="y"),)}),
        ({"l": "x"}, {}, {"symlinks": (LinkChange(path="l", before="x"),)}),
        ({}, {"l": "y"}, {"symlinks": (LinkChange(path="l", after="y"),)}),
        (
            {"n": b"1"},
            {"n": "y"},
            {
                "removed": ("n",),
                "symlinks": (LinkChange(path="n", after="y"),),
                "types": (TypeChange(path="n", before="file", after="symlink"),),
            },
        ),
    ],
)
def test_one_folder(old, new, expected):
    tree = MemoryTree()
    assert difference(tree.folder(**old), tree.folder(**new), tree) == DiffResult(**expected)


def test_a_file_that_becomes_a_folder_is_removed_and_what_is_in_it_added():
    tree = MemoryTree()
    inner = tree.folder(f=b"1", g=b"2")
    found = difference(tree.folder(n=b"0"), tree.folder(n=inner), tree)
    assert (found.removed, found.added) == (("n",), ("n/f", "n/g"))
    assert found.types == (TypeChange(path="n", before="file", after="directory"),)
    back = difference(tree.folder(n=inner), tree.folder(n=b"0"), tree)
    assert (back.removed, back.added) == (("n/f", "n/g"), ("n",))
    assert back.folders_removed == ("n",)


def test_in_each_folder_files_come_before_sub_folders_and_both_by_name():
    tree = MemoryTree()

    def made(content):
        deep = tree.folder(k=content)
        first = tree.folder(z=content, y=deep)
        return tree.folder(m=content, a=first, b=content, c=tree.folder(d=content))

    assert difference(made(b"1"), made(b"2"), tree).modified == ("b", "m", "a/z", "a/y/k", "c/d")
    assert difference(tree.folder(), made(b"2"), tree).added == ("b", "m", "a/z", "a/y/k", "c/d")
    assert difference(made(b"1"), tree.folder(), tree).removed == ("b", "m", "a/z", "a/y/k", "c/d")


def test_empty_folders_are_reported():
    tree = MemoryTree()
    empty = tree.folder()
    assert difference(tree.folder(e=empty), tree.folder(), tree).folders_removed == ("e",)
    assert difference(tree.folder(), tree.folder(e=tree.folder(f=empty)), tree).folders_added == ("e", "e/f")


def test_equal_folders_are_not_looked_into():
    tree = MemoryTree()
    same = tree.folder(f=b"1")
    old, new = tree.folder(s=same, x=b"1"), tree.folder(s=same, x=b"2")
    assert difference(old, new, tree).modified == ("x",)
    assert same not in tree.reads
    tree.reads.clear()
    assert difference(old, old, tree) == DiffResult()
    assert tree.reads == []


def test_trees_as_deep_as_any_are_compared():
    tree = MemoryTree()
    old, new = tree.folder(f=b"1"), tree.folder(f=b"2")
    for _ in range(MAX_DEPTH - 1):
        old, new = tree.folder(d=old), tree.folder(d=new)
    assert len(difference(old, new, tree).modified) == 1


def test_few_messages_that_unfold_into_very_many_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_LOOKS", 1000)
    tree = MemoryTree()
    old, new = tree.folder(f=b"1"), tree.folder(f=b"2")
    for _ in range(30):
        old, new = tree.folder(a=old, b=old), tree.folder(a=new, b=new)
    with pytest.raises(InvalidRequest, match="give a subdir"):
        difference(old, new, tree)


# -- the verb --------------------------------------------------------------------------------------


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=["http://a"])
    source = make_tree(tmp_path / "src")
    made.run(CommitRequest(path=source, refs=(A,)), quiet())
    with open(f"{source}/files/README", "w", encoding="utf-8") as file:
        file.write("changed")
    with open(f"{source}/buildtree/main.o", "w", encoding="utf-8") as file:
        file.write("changed")
    made.run(CommitRequest(path=source, refs=(B,)), quiet())
    yield made
    made.close()


def run(services, a=A, b=B, **more):
    return services.run(DiffRequest(ref_a=a, ref_b=b, **more), quiet())


def test_two_artifacts_and_one_folder_of_them(services):
    assert run(services) == DiffResult(modified=("buildtree/main.o", "files/README"))
    assert run(services, subdir="files") == DiffResult(modified=("README",))
    assert run(services, subdir="buildtree/obj") == DiffResult()
    assert run(services, b=A) == DiffResult()


def test_what_is_not_there_is_an_error_that_names_the_ref(services):
    with pytest.raises(ArtifactNotFound, match="demo/hello/c"):
        run(services, b="demo/hello/c")
    with pytest.raises(InvalidRequest, match=r"'nowhere'.*demo/hello/a"):
        run(services, subdir="nowhere")
    with pytest.raises(InvalidRequest, match="relative"):
        run(services, subdir="../x")


def test_a_message_that_is_gone_is_no_difference(services, tmp_path):
    root = Digest.parse(services.listing.list(B)[0].root)
    folder = services.desk.objects.directory(root).directory("files")
    os.unlink(services.layout.object(folder.digest.hash))
    with pytest.raises(ArtifactNotFound, match=folder.digest.hash):
        run(services)


def test_what_was_left_out_is_named_and_not_guessed(services, tmp_path):
    services.run(PushRequest(refs=(A,)), quiet())
    services.run(PushRequest(refs=(B,)), quiet())
    (tmp_path / "other").mkdir()
    other = fake_services(tmp_path / "other", urls=["http://a"])
    other.remotes.remotes = services.remotes.remotes
    for ref in (A, B):
        other.run(PullRequest(ref=ref, excluded_subdirs=("buildtree",)), quiet())
    assert run(other) == DiffResult(modified=("files/README",), not_compared=("buildtree",))
    with pytest.raises(PartialArtifact, match="demo/hello/a"):
        run(other, subdir="buildtree")
    other.close()


def test_it_claims_both_roots_and_lets_go_of_them(services):
    roots = {f"root:{line.root.split('/')[0]}" for line in services.listing.list()}
    claims = []

    def look():
        claims.extend(operation.claims for operation in services.coordination.operations.list())

    services.run(DiffRequest(ref_a=A, ref_b=B), Context(progress=lambda _: None, check=look))
    assert roots in [set(one) for one in claims]
    assert services.coordination.operations.list() == []


def test_it_stops_when_it_is_told_to(services):
    def stop():
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        services.run(DiffRequest(ref_a=A, ref_b=B), Context(progress=lambda _: None, check=stop))
