"""pull_tree over a real volume and remotes in memory (AC-75, D-13)."""

from __future__ import annotations

import os

import pytest
from harness.loose_trees import (
    K1,
    OLD,
    A,
    B,
    age_everything,
    asked_for,
    assert_account_is_exact,
    digest,
    fill,
    pull_tree,
    stored,
)
from harness.services import fake_services, picture

from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ExtractRequest,
    PullTreeRequest,
    PullTreeResult,
)
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    Cancelled,
    ConfigInvalid,
    DigestMismatch,
    InvalidRequest,
    PermissionDenied,
    RemoteUnavailable,
)
from worker._protos import remote_execution_pb2 as pb
from worker.directory import MAX_TREE_BYTES
from worker.protocols import Context, quiet


def test_all_files_and_directories_come_and_the_root_is_answered(services, a, world):
    fill(a, world)
    result = pull_tree(services, world.tree)
    assert result == PullTreeResult(
        digest=str(world.root),
        remote=A,
        blobs=5,
        bytes=sum(one.size_bytes for one in [*world.files, *world.directories]),
    )
    assert stored(services) == {one.hash for one in [*world.files, *world.directories]}
    assert_account_is_exact(services)


def test_the_tree_blob_itself_is_not_stored_and_no_ref_is_made(services, a, world):
    fill(a, world)
    pull_tree(services, world.tree)
    assert world.tree.hash not in stored(services)
    assert list(services.listing.list()) == []
    assert a.index.refs == {}


def test_a_directory_is_stored_after_everything_it_names(services, a, world, monkeypatch):
    """I2, AC-75."""
    fill(a, world)
    order = []
    publish = type(services.volume).publish

    def noting(volume, source, target):
        order.append(target)
        return publish(volume, source, target)

    monkeypatch.setattr(type(services.volume), "publish", noting)
    pull_tree(services, world.tree)
    place = {one: order.index(services.layout.object(one.hash)) for one in [*world.files, *world.directories]}
    deep, sub, root = world.directories
    assert max(place[one] for one in world.files) < place[deep] < place[sub] < place[root]


def test_what_is_here_already_does_not_travel_and_is_young_afterwards(services, a, world):
    fill(a, world)
    pull_tree(services, world.tree)
    path = services.layout.object(world.files[0].hash)
    os.utime(path, ns=(OLD, os.stat(path).st_mtime_ns))
    a.blobs.calls.clear()
    result = pull_tree(services, world.tree)
    assert (result.digest, result.blobs, result.bytes) == (str(world.root), 0, 0)
    assert asked_for(a) == {world.tree}
    assert os.stat(path).st_atime_ns > OLD
    assert_account_is_exact(services)


def test_every_remote_is_asked_for_the_digest_of_the_request(services, a, b, world):
    """D-13: the second was asked for the answer of the first."""
    fill(a, world, without=world.files[:1])
    fill(b, world)
    result = pull_tree(services, world.tree)
    assert (result.digest, result.remote) == (str(world.root), B)
    for remote in (a, b):
        assert remote.blobs.calls[0] == ("read_batch", (world.tree,))


def test_a_remote_without_the_tree_leaves_it_to_the_next(services, b, world):
    fill(b, world)
    assert pull_tree(services, world.tree).remote == B


def test_nobody_has_it_is_none_and_leaves_nothing(services, world):
    assert pull_tree(services, world.tree) == PullTreeResult(digest=None)
    assert stored(services) == set()
    assert_account_is_exact(services)


@pytest.mark.parametrize(
    "failure", [RemoteUnavailable("away"), PermissionDenied("no"), DigestMismatch("lie")]
)
def test_a_failure_stays_with_its_remote_when_the_next_has_it(services, a, b, world, failure):
    """D-17."""
    a.blobs.fail["read_batch"] = failure
    fill(b, world)
    assert pull_tree(services, world.tree).remote == B


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(RemoteUnavailable("away"), RemoteUnavailable), (PermissionDenied("no"), PermissionDenied)],
)
def test_a_failure_is_told_when_nobody_has_it(services, a, world, failure, kind):
    """I10, D-23: never a miss, and as permanent or passing as it is."""
    a.blobs.fail["read_batch"] = kind("no")
    with pytest.raises(kind, match=f"tree {world.tree}.*{A}"):
        pull_tree(services, world.tree)
    assert_account_is_exact(services)


def test_a_remote_that_cannot_be_opened_is_a_failure_like_any_other(services, b, world):
    del services.remotes.remotes[A]
    fill(b, world)
    assert pull_tree(services, world.tree).remote == B
    b.blobs.data.clear()
    with pytest.raises(RemoteUnavailable, match="connection refused"):
        pull_tree(services, digest(b"another"))


def test_a_file_that_lies_is_never_stored(services, a, b, world):
    fill(a, world)
    a.blobs.data[world.files[0].hash] = b"not the content"
    with pytest.raises(DigestMismatch):
        pull_tree(services, world.tree)
    assert world.files[0].hash not in stored(services)
    assert world.root.hash not in stored(services)
    fill(b, world)
    assert pull_tree(services, world.tree).remote == B


def test_without_a_remote_it_is_said_how_to_get_one(tmp_path, world):
    lonely = fake_services(tmp_path)
    with pytest.raises(ConfigInvalid, match="no remote is configured"):
        pull_tree(lonely, world.tree)
    lonely.close()


@pytest.mark.parametrize("message", [b"plain text", b"\x18\x01", b"\x0a\xff"])
def test_what_is_no_tree_is_refused(services, a, message):
    with pytest.raises(InvalidRequest, match="no Tree message"):
        pull_tree(services, a.blobs.add(message))


def test_a_tree_that_lacks_a_directory_of_its_own_is_refused_and_nothing_stored(services, a, world):
    whole = pb.Tree.FromString(world.message)
    for number in range(len(whole.children)):
        children = [child for n, child in enumerate(whole.children) if n != number]
        broken = pb.Tree(root=whole.root, children=children).SerializeToString()
        fill(a, world)
        with pytest.raises(InvalidRequest, match="does not contain the directory"):
            pull_tree(services, a.blobs.add(broken))
    assert stored(services) == set()
    assert_account_is_exact(services)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b", "x" * 256])
def test_a_directory_that_could_leave_its_place_is_refused(services, a, name):
    bad = pb.Directory(symlinks=[pb.SymlinkNode(name=name, target="t")])
    for tree in (
        pb.Tree(root=bad),
        pb.Tree(
            root=pb.Directory(directories=[pb.DirectoryNode(name="d", digest=message_digest(bad))]),
            children=[bad],
        ),
    ):
        with pytest.raises(InvalidRequest, match="not a name"):
            pull_tree(services, a.blobs.add(tree.SerializeToString()))
    assert stored(services) == set()


def message_digest(message):
    found = digest(message.SerializeToString())
    return pb.Digest(hash=found.hash, size_bytes=found.size_bytes)


def test_a_directory_that_the_root_does_not_reach_is_left_out(services, a, world):
    stray = pb.Directory(symlinks=[pb.SymlinkNode(name="stray", target="t")])
    tree = pb.Tree.FromString(world.message)
    tree.children.append(stray)
    fill(a, world)
    assert pull_tree(services, a.blobs.add(tree.SerializeToString())).digest == str(world.root)
    assert digest(stray.SerializeToString()).hash not in stored(services)


@pytest.mark.parametrize("message", [b"", pb.Tree(root=pb.Directory()).SerializeToString()])
def test_the_tree_of_an_empty_directory_needs_nothing(services, a, message):
    a.blobs.add(message)
    assert pull_tree(services, digest(message)).digest == str(EMPTY)
    assert stored(services) == set()
    assert_account_is_exact(services)


@pytest.mark.parametrize(
    "text", ["", "abc", "0" * 64, f"{'g' * 64}/1", f"{'0' * 64}/-1", f"{'0' * 64}/{2**63}"]
)
def test_what_is_no_digest_is_refused(services, text):
    with pytest.raises(InvalidRequest):
        pull_tree(services, text)


def test_a_tree_larger_than_memory_allows_is_refused_before_anybody_is_asked(services):
    with pytest.raises(InvalidRequest, match="too large"):
        pull_tree(services, Digest("0" * 64, MAX_TREE_BYTES + 1))
    assert services.remotes.asked == []


def test_what_comes_is_protected_while_the_operation_runs(services, a, world):
    """A cleanup that takes all it can, in the middle of a second pull of old content."""
    fill(a, world)
    pull_tree(services, world.tree)
    os.unlink(services.layout.object(world.files[0].hash))
    age_everything(services)
    cleanups = []
    read_batch = a.blobs.read_batch

    def reading(digests):
        if world.files[0] in digests:
            cleanups.append(services.run(CleanupRequest(target_bytes=0), quiet()))
        return read_batch(digests)

    a.blobs.read_batch = reading
    pull_tree(services, world.tree)
    assert len(cleanups) == 1
    assert stored(services) == {one.hash for one in [*world.files, *world.directories]}


def test_what_came_is_garbage_when_the_operation_has_ended(services, a, world):
    """It goes first, however full the cache is: nothing but a ref keeps content."""
    fill(a, world)
    pull_tree(services, world.tree)
    age_everything(services)
    done = services.run(CleanupRequest(target_bytes=2**40), quiet())
    assert [(group.root, group.refs, group.action) for group in done.groups] == [
        (world.root.hash, (), "evict")
    ]
    assert stored(services) == set()
    assert services.coordination.usage.snapshot().used_bytes == 0


def test_a_ref_that_comes_to_name_it_keeps_it(services, a, world, tmp_path):
    fill(a, world)
    pull_tree(services, world.tree)
    os.makedirs(tmp_path / "src/sub/deep")
    os.makedirs(tmp_path / "src/also")
    for path, content in {
        "run": b"#!/bin/sh\n",
        "sub/deep/x": b"deep content",
        "also/x": b"deep content",
    }.items():
        (tmp_path / "src" / path).write_bytes(content)
    for folder in ("sub/deep", "also"):
        (tmp_path / "src" / folder / "empty").touch()
    (tmp_path / "src/run").chmod(0o755)
    (tmp_path / "src/link").symlink_to("run")
    committed = services.run(CommitRequest(path=str(tmp_path / "src"), refs=(K1,)), quiet())
    assert committed.root == str(world.root)
    age_everything(services)
    done = services.run(CleanupRequest(target_bytes=2**40), quiet())
    assert done.freed_bytes == 0
    path = services.run(ExtractRequest(ref=K1), quiet()).path
    assert picture(path) == picture(tmp_path / "src")


def test_it_stops_between_pieces_when_it_is_told_to(services, a, world):
    fill(a, world)

    def stop():
        raise Cancelled("told to")

    with pytest.raises(Cancelled):
        services.run(
            PullTreeRequest(project="demo", digest=str(world.tree)),
            Context(progress=lambda _progress: None, check=stop),
        )
    assert_account_is_exact(services)
