"""push_directory and push_message over a real volume and remotes in memory (AC-76 to AC-78)."""

from __future__ import annotations

import base64
import os

import pytest
from harness.loose_trees import (
    K1,
    OLD,
    A,
    B,
    age_everything,
    assert_account_is_exact,
    digest,
    fill,
    outcomes,
    pull_tree,
    push_directory,
    push_message,
    stored,
)
from harness.services import fake_services, make_tree

from caskeeper.contract import (
    MAX_MESSAGE_BYTES,
    CommitRequest,
    PullTreeRequest,
    PushDirectoryRequest,
    PushDirectoryResult,
    PushMessageRequest,
)
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    ConfigInvalid,
    InvalidRequest,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker._protos import remote_execution_pb2 as pb
from worker.protocols import quiet
from worker.store.objects import OBJECT_IN_TRASH, Objects


@pytest.fixture
def root(services, tmp_path):
    """The root of an artifact that is here."""
    made = services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(K1,)), quiet())
    return Digest.parse(made.root)


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
