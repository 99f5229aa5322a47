from __future__ import annotations

import os

import pytest
from harness.memory_blobs import MemoryRemote
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    ConfigInvalid,
    InvalidRequest,
    NoSpace,
    PartialArtifact,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.protocols import DIRECTORY, Published, quiet
from worker.tree import parse_tree
from worker.views import asset_view

K1, K2 = "demo/hello/k1", "demo/hello/k2"
A, B = "http://a", "http://b"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A, B])
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(K1, K2)), quiet())
    yield made
    made.close()


def push(services, *refs, **arguments):
    return services.run(PushRequest(refs=refs or (K1,), **arguments), quiet())


def outcomes(result):
    return {outcome.url: outcome.outcome for outcome in result.remotes}


def test_every_push_remote_gets_all_content_and_all_names(services, a, b):
    result = push(services, K1, K2)
    assert result.pushed
    assert outcomes(result) == {A: "pushed", B: "pushed"}
    root = Digest.parse(services.listing.show(Ref.parse(K1)).roots[0])
    for remote in (a, b):
        assert {str(ref): found.root for ref, found in remote.index.refs.items()} == {K1: root, K2: root}
        assert len(remote.blobs.data) == services.listing.show(Ref.parse(K1)).objects


def test_refs_of_one_tree_travel_once(services, a):
    result = push(services, K1, K2)
    arrived = list(a.blobs.arrived)
    assert len(arrived) == len(set(arrived)) == result.remotes[0].blobs
    assert result.remotes[0].bytes == sum(digest.size_bytes for digest in arrived)


def test_what_is_there_already_is_not_sent_again_and_the_push_updates_nothing(services):
    push(services, K1)
    again = push(services, K1)
    assert not again.pushed
    assert outcomes(again) == {A: "already-there", B: "already-there"}
    assert [outcome.blobs for outcome in again.remotes] == [0, 0]


def test_a_missing_second_name_is_set_without_sending_content(services, a):
    push(services, K1)
    a.blobs.arrived.clear()
    result = push(services, K1, K2)
    assert result.pushed
    assert not a.blobs.arrived
    assert Ref.parse(K2) in a.index.refs


def test_the_remote_ref_is_set_only_after_every_blob_was_taken(services, a):
    """AC-64."""
    seen = []
    publish = a.index.publish

    def noting(refs, published, *, tree):
        seen.append(set(a.blobs.data))
        publish(refs, published, tree=tree)

    a.index.publish = noting
    push(services, K1)
    assert seen == [set(a.blobs.data)]
    a.index.refs.clear()
    a.blobs.data.clear()
    a.blobs.fail["write_batch"] = RemoteUnavailable("broke off", A)
    push(services, K1)
    assert not a.index.refs


def test_one_remotes_trouble_is_its_own(services, a):
    """D-18."""
    a.index.failure = RemoteUnavailable("away", A)
    result = push(services, K1)
    assert result.pushed
    assert outcomes(result) == {A: "failed", B: "pushed"}
    assert "away" in result.remotes[0].reason
    assert result.remotes[0].retry


def test_a_full_remote_is_said_to_be_full(services, a):
    """AC-65, D-18: neither an error of the push nor `already there`."""
    a.blobs.fail["write_batch"] = NoSpace("quota exceeded", A)
    result = push(services, K1)
    assert outcomes(result) == {A: "full", B: "pushed"}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (RemoteUnavailable("away"), PermissionDenied("not you"), RemoteUnavailable),
        (NoSpace("full"), NoSpace("full"), NoSpace),
        (NoSpace("full"), RemoteUnavailable("away"), RemoteUnavailable),
        (NoSpace("full"), PermissionDenied("not you"), PermissionDenied),
        (PermissionDenied("not you"), PermissionDenied("not you"), PermissionDenied),
    ],
)
def test_a_push_that_reaches_nobody_ends_with_the_error_of_the_interface(
    services, a, b, first, second, expected
):
    for remote, failure in ((a, first), (b, second)):
        remote.blobs.fail["write_batch"] = failure
    with pytest.raises(expected) as caught:
        push(services, K1)
    assert A in str(caught.value)
    assert B in str(caught.value)


def test_a_remote_that_has_it_counts_as_reached(services, b):
    push(services, K1)
    b.index.failure = RemoteUnavailable("away", B)
    result = push(services, K1)
    assert not result.pushed
    assert outcomes(result) == {A: "already-there", B: "failed"}


def test_a_server_that_does_not_allow_push_is_refused_with_a_reason(services):
    services.remotes.remotes[A] = MemoryRemote(A, writable=False)
    result = push(services, K1)
    assert outcomes(result) == {A: "failed", B: "pushed"}
    assert "does not allow" in result.remotes[0].reason


def test_a_partial_artifact_is_not_pushed(services, tmp_path):
    """AC-67."""
    push(services, K1)
    folder = tmp_path / "other"
    folder.mkdir()
    other = fake_services(folder, urls=[A])
    other.remotes.remotes = services.remotes.remotes
    other.run(PullRequest(ref=K1, excluded_subdirs=("buildtree",)), quiet())
    with pytest.raises(PartialArtifact, match="buildtree"):
        push(other, K1)
    other.close()


@pytest.mark.parametrize("content", [b"deep code", b"z"])
def test_a_tree_with_a_gap_is_refused_before_anything_is_sent(services, a, content):
    """AC-67, D-18. No remote has it either, so its ref is gone."""
    digest = Digest.of(content)
    os.unlink(services.layout.object(digest.hash))
    with pytest.raises(ArtifactNotFound, match=digest.hash):
        push(services, K1)
    assert not a.blobs.arrived
    assert not a.index.refs


def test_what_is_not_here_cannot_be_pushed(services, a):
    with pytest.raises(ArtifactNotFound):
        push(services, K1, "demo/hello/other")
    assert not a.blobs.arrived


def test_without_a_push_remote_the_way_out_is_named(tmp_path):
    lonely = fake_services(tmp_path)
    with pytest.raises(ConfigInvalid, match="push: true"):
        push(lonely, K1)
    with pytest.raises(InvalidRequest):
        lonely.run(PushRequest(refs=()), quiet())
    lonely.close()


def test_remotes_can_be_named_in_the_request(services, a):
    assert outcomes(push(services, K1, remotes=(B,))) == {B: "pushed"}
    assert not a.blobs.calls


def test_the_root_is_claimed_while_it_is_sent(services, a):
    """safety.md section 3: what is being read may not be condemned."""
    claims = []
    resolve = a.index.resolve

    def looking(ref):
        claims.extend(claim for record in services.coordination.operations.list() for claim in record.claims)
        return resolve(ref)

    a.index.resolve = looking
    push(services, K1)
    root = Digest.parse(services.listing.show(Ref.parse(K1)).roots[0])
    assert claims == [f"root:{root.hash}"]
    assert services.coordination.operations.list() == []


def test_a_tree_that_cannot_be_built_for_an_index_is_no_trouble_of_the_remotes(services, a):
    """D-18: the store's own trouble ends the push."""

    def naming(_refs, _published, *, tree):
        for folder, _folders, names in os.walk(services.layout.objects):
            for name in names:
                os.unlink(f"{folder}/{name}")
        tree()

    a.index.publish = naming
    with pytest.raises(BlobMissing):
        push(services, K1)


def test_the_tree_for_an_index_is_that_of_the_root(services, a):
    given = []
    a.index.publish = lambda _refs, published, *, tree: given.append((published, tree()))
    push(services, K1, remotes=(A,))
    ((published, tree),) = given
    assert parse_tree(tree, Digest.of(tree)).root == published.root


def test_what_was_named_here_with_references_is_pushed_on_without_them(services, a):
    """PushDirectory with references binds a second root, of which no other server knows anything."""
    ref, naming = Ref.parse(K1), services.pull._naming
    record = naming.refs.read(ref)
    with services.desk.writer("test", K1, quiet()) as operation:
        view = asset_view(blobs=[operation.blobs.add(b"belongs to it")])
        operation.blobs.write_batch(list(view.messages.items()))
        naming.publish(operation, [ref], record._replace(roots=(record.root, view.root)))
    assert push(services, K1).pushed
    assert a.index.refs[ref] == Published((record.root,), DIRECTORY)
    assert not push(services, K1).pushed
