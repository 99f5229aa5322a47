"""pull_tree, push_directory, push_message over a real volume and remotes in memory (AC-75 to AC-78)."""

from __future__ import annotations

import base64
import os

import pytest
from harness.services import fake_services, make_tree, picture
from harness.tree_messages import tree_message
from harness.trees import MemoryTree

from caskeeper.contract import (
    MAX_MESSAGE_BYTES,
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    PullTreeRequest,
    PullTreeResult,
    PushDirectoryRequest,
    PushDirectoryResult,
    PushMessageRequest,
)
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    Cancelled,
    ConfigInvalid,
    DigestMismatch,
    InvalidRequest,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker._protos import remote_execution_pb2 as pb
from worker.protocols import Context, quiet
from worker.services.gather import MAX_TREE_BYTES
from worker.store.objects import OBJECT_IN_TRASH, Objects

A, B = "http://a", "http://b"
K1 = "demo/hello/k1"
OLD = 1_000_000_000


@pytest.fixture
def services(tmp_path, caplog):
    caplog.set_level("INFO")  # as a worker has it: every line is really made
    made = fake_services(tmp_path, urls=[A, B])
    yield made
    made.close()


@pytest.fixture
def a(services):
    return services.remotes.remotes[A]


@pytest.fixture
def b(services):
    return services.remotes.remotes[B]


@pytest.fixture
def world():
    """A tree in memory: its files, its Directories, ``root`` and its ``tree`` message's digest."""
    memory = MemoryTree()
    deep = memory.folder(x=b"deep content", empty=b"")
    memory.root = memory.folder(_x_run=b"#!/bin/sh\n", sub=memory.folder(deep=deep), also=deep, link="run")
    memory.directories = [deep, memory.folder(deep=deep), memory.root]
    memory.files = [digest(text) for text in (b"deep content", b"#!/bin/sh\n")]
    memory.message = tree_message(memory.data, memory.root)
    memory.tree = Digest.of(memory.message)
    return memory


digest = Digest.of


def fill(remote, world, *, without=()):
    """The remote has the Tree blob and the files, as a build's peer uploads them; no Directory objects."""
    for wanted in world.files:
        if wanted not in without:
            remote.blobs.add(world.data[wanted.hash])
    remote.blobs.add(world.message)
    remote.blobs.add(b"")  # every server has it


def pull_tree(services, wanted, **arguments):
    return services.run(PullTreeRequest(project="demo", digest=str(wanted), **arguments), quiet())


def push_directory(services, wanted):
    return services.run(PushDirectoryRequest(project="demo", digest=wanted and str(wanted)), quiet())


def push_message(services, message):
    return services.run(PushMessageRequest.of("demo", message), quiet())


def stored(services):
    """The hashes of all objects of the volume."""
    found = set()
    for folder, _folders, names in os.walk(services.layout.objects):
        found |= {os.path.basename(folder) + name for name in names}
    return found


def asked_for(remote):
    return {one for _verb, digests in remote.blobs.calls for one in digests}


def assert_account_is_exact(services):
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes
    assert not os.listdir(services.layout.staging)
    assert services.coordination.operations.list() == []


# -- pull_tree ----------------------------------------------------------------------------------------------


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


def age_everything(services):
    """As if nobody had used anything for ages."""
    for folder, _folders, names in os.walk(f"{services.layout.root}/cas"):
        for name in names:
            os.utime(f"{folder}/{name}", ns=(OLD, os.stat(f"{folder}/{name}").st_mtime_ns))


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


# -- push_directory -----------------------------------------------------------------------------------------


@pytest.fixture
def root(services, tmp_path):
    """The root of an artifact that is here."""
    made = services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(K1,)), quiet())
    return Digest.parse(made.root)


def outcomes(result):
    return {outcome.url: outcome.outcome for outcome in result.remotes}


def test_every_push_remote_gets_the_whole_tree_and_no_ref(services, a, b, root):
    result = push_directory(services, root)
    assert outcomes(result) == {A: "pushed", B: "pushed"}
    for remote in (a, b):
        assert set(remote.blobs.data) | {EMPTY.hash} == stored(services) | {EMPTY.hash}
        assert remote.index.refs == {}
    assert result.remotes[0].blobs == len(a.blobs.arrived)
    assert outcomes(push_directory(services, root)) == {A: "already-there", B: "already-there"}
    assert_account_is_exact(services)


def folder_of(services, root, name):
    return Objects(services.volume).directory(root).directory(name).digest


def test_a_folder_inside_an_artifact_can_be_pushed_and_is_young_then(services, a, root):
    """No list has it as a root, so its content is made young: a claim would not keep it."""
    age_everything(services)
    bin_folder = folder_of(services, folder_of(services, root, "files"), "bin")
    result = push_directory(services, bin_folder)
    hello = digest(b"#!/bin/sh\necho hello\n")
    assert outcomes(result) == {A: "pushed", B: "pushed"}
    assert set(a.blobs.data) == {bin_folder.hash, hello.hash}
    for one in (bin_folder, hello):
        assert os.stat(services.layout.object(one.hash)).st_atime_ns > OLD
    assert_account_is_exact(services)


def test_a_directory_goes_after_its_files(services, a, root):
    push_directory(services, root)
    folders = [
        n for n, one in enumerate(a.blobs.arrived) if one in (root, folder_of(services, root, "files"))
    ]
    files = [n for n, one in enumerate(a.blobs.arrived) if one == digest(b"readme\n")]
    assert max(files) < min(folders)


def test_what_a_pull_tree_brought_can_be_pushed_on(services, a, b, world):
    fill(a, world)
    b.blobs.add(b"")
    pull_tree(services, world.tree)
    result = push_directory(services, world.root)
    assert outcomes(result) == {A: "pushed", B: "pushed"}
    assert result.remotes[0].blobs == len(world.directories)
    assert result.remotes[1].blobs == 5
    assert world.tree.hash not in b.blobs.data


@pytest.mark.parametrize("absent", [None, ""])
def test_without_a_digest_nothing_is_done(services, absent):
    """AC-76."""
    assert push_directory(services, absent) == PushDirectoryResult(remotes=())
    assert services.remotes.asked == []


@pytest.mark.parametrize(
    ("push", "what"), [(push_directory, digest(b"absent")), (push_directory, None), (push_message, b"m")]
)
def test_without_a_push_remote_it_is_said_before_anything_else(tmp_path, push, what):
    lonely = fake_services(tmp_path)
    with pytest.raises(ConfigInvalid, match="no push remote is configured for project 'demo'"):
        push(lonely, what)
    lonely.close()


def test_what_is_not_here_is_missing_and_nothing_is_sent(services, a, root):
    with pytest.raises(BlobMissing):
        push_directory(services, digest(b"never seen"))
    lost = digest(b"deep code")
    os.unlink(services.layout.object(lost.hash))
    with pytest.raises(BlobMissing, match=lost.hash):
        push_directory(services, root)
    assert a.blobs.data == {}


def test_an_object_in_the_trash_is_found_there(services, a, root):
    lost = digest(b"deep code")
    trash = services.layout.trash("cleanup")
    os.makedirs(trash)
    os.rename(services.layout.object(lost.hash), f"{trash}/{OBJECT_IN_TRASH}{lost.hash}")
    assert outcomes(push_directory(services, root))[A] == "pushed"
    assert lost.hash in a.blobs.data


def test_what_is_being_removed_counts_as_missing(services, root):
    maintenance = services.coordination.maintenance
    grant = maintenance.acquire("cleanup", purpose="test")
    assert maintenance.condemn("cleanup", grant.epoch, roots=[root.hash], refs=[], keys=[]) == ""
    with pytest.raises(BlobMissing, match="being removed"):
        push_directory(services, root)


def test_a_file_is_no_directory(services, root):
    with pytest.raises(InvalidRequest, match="Directory"):
        push_directory(services, digest(b"#!/bin/sh\necho hello\n"))


# -- push_message -------------------------------------------------------------------------------------------


def test_a_message_goes_to_every_push_remote_as_a_stream_and_unasked(services, a, b):
    """AC-77."""
    message = pb.FileNode(name="hello").SerializeToString()
    push_message(services, message)
    result = push_message(services, message)
    assert result.digest == str(digest(message))
    assert outcomes(result) == {A: "pushed", B: "pushed"}
    for remote in (a, b):
        assert remote.blobs.data == {digest(message).hash: message}
        assert remote.blobs.calls == [("write_stream", (digest(message),))] * 2
    assert stored(services) == set()


def test_an_empty_message_is_one_too(services, a):
    assert push_message(services, b"").digest == str(EMPTY)
    assert a.blobs.arrived == [EMPTY]


@pytest.mark.parametrize("text", ["abc", "ab=c", "\u00e9", "a b c d", base64.b64encode(b"x").decode() + "\n"])
def test_a_message_that_is_no_base64_is_refused(services, text):
    with pytest.raises(InvalidRequest, match="no base64"):
        services.run(PushMessageRequest(project="demo", message=text), quiet())
    assert services.remotes.asked == []


def test_a_message_too_large_for_a_job_is_refused_on_both_sides(services):
    large = bytes(MAX_MESSAGE_BYTES + 1)
    with pytest.raises(InvalidRequest, match="commit it as a file"):
        PushMessageRequest.of("demo", large)
    with pytest.raises(InvalidRequest, match="commit it as a file"):
        services.run(PushMessageRequest(project="demo", message=base64.b64encode(large).decode()), quiet())
    assert len(PushMessageRequest.of("demo", large[1:]).content) == MAX_MESSAGE_BYTES


# -- all three ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["directory", "message"])
def push(request, services, root):
    if request.param == "message":
        return lambda: push_message(services, b"a message")
    return lambda: push_directory(services, root)


@pytest.mark.parametrize(
    ("failure", "outcome", "retry"),
    [
        (RemoteUnavailable("away"), "failed", True),
        (PermissionDenied("no"), "failed", False),
        (NoSpace("full"), "full", True),
    ],
)
def test_one_remotes_trouble_is_its_own(push, a, failure, outcome, retry):
    """D-18, D-23."""
    a.blobs.fail = {"write_batch": failure, "write_stream": failure}
    result = push()
    assert outcomes(result) == {A: outcome, B: "pushed"}
    assert (result.remotes[0].retry, failure.what in result.remotes[0].reason) == (retry, True)


def test_a_server_that_only_reads_is_said_to_refuse(push, a):
    """D-15."""
    a.writable = False
    result = push()
    assert outcomes(result) == {A: "failed", B: "pushed"}
    assert "does not allow push" in result.remotes[0].reason
    assert a.blobs.data == {}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (RemoteUnavailable("away"), PermissionDenied("not you"), RemoteUnavailable),
        (NoSpace("full"), NoSpace("full"), NoSpace),
        (NoSpace("full"), PermissionDenied("not you"), PermissionDenied),
    ],
)
def test_a_push_that_reaches_nobody_ends_with_the_error_of_the_interface(push, a, b, first, second, expected):
    for remote, failure in ((a, first), (b, second)):
        remote.blobs.fail = {"write_batch": failure, "write_stream": failure}
    with pytest.raises(expected) as caught:
        push()
    assert A in str(caught.value)
    assert B in str(caught.value)


@pytest.mark.parametrize("project", ["", "..", "a/b", "a b"])
def test_a_project_that_is_no_name_is_refused(services, project):
    for request in (
        PullTreeRequest(project=project, digest=str(EMPTY)),
        PushDirectoryRequest(project=project, digest=str(EMPTY)),
        PushMessageRequest.of(project, b""),
    ):
        with pytest.raises(InvalidRequest, match="is not a name"):
            services.run(request, quiet())


def test_nothing_is_contacted_before_it_is_needed(services):
    """AC-78."""
    assert services.remotes.asked == []
    push_message(services, b"m")
    assert services.remotes.asked == [A, B]
