"""References as a peer meets them (wire-protocols sections 5 and 12, interface section 5)."""

import os

import grpc
import pytest
from harness.serving import make_old, refusal, settled, small_tree

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from worker import directory
from worker._protos.reference_storage_pb2 import UpdateReferenceRequest
from worker.closure import WHOLE, Scope, walk
from worker.protocols import quiet
from worker.services import operations
from worker.store.closures import Closures
from worker.store.objects import Objects
from worker.store.refs import RefRecord, Refs

CODE = grpc.StatusCode
KEY = "demo/el/aaaa"
REF = Ref("demo", "el", "aaaa")


@pytest.fixture
def bound(peer):
    """A small tree that KEY names: its root and all its blobs."""
    root, blobs = small_tree()
    peer.upload(*blobs)
    peer.update(root, KEY)
    return root, blobs


def test_a_tree_is_bound_to_every_key_and_resolved(peer, services):
    root, blobs = small_tree()
    peer.upload(*blobs)
    peer.update(root, KEY, "demo/el/bbbb")
    assert peer.resolve(KEY, instance_name="main") == root
    assert peer.resolve("demo/el/bbbb") == root
    record = Refs(services.volume).read(REF)
    assert (record.roots, record.kind, record.scope, record.origin) == ((root,), 0, WHOLE, "server")
    assert set(Closures(services.volume).read(root.hash, "whole").digests()) == set(map(Digest.of, blobs))


def test_content_and_closure_list_are_flushed_before_the_ref_appears(peer, services, monkeypatch):
    root, blobs = small_tree()
    peer.upload(*blobs)
    changes = []
    monkeypatch.setattr(services.volume, "_change", lambda verb, *paths: changes.append((verb, paths[-1])))
    peer.update(root, KEY)
    order = [
        changes.index(("touch", services.layout.object(root.hash))),
        changes.index(("publish", services.layout.closure(root.hash, "whole"))),
        changes.index(("sync", services.layout.root)),
        changes.index(("replace", services.layout.ref(REF))),
    ]
    assert order == sorted(order)


def test_a_ref_that_is_being_removed_is_not_bound_meanwhile(peer, services, bound, monkeypatch):
    monkeypatch.setattr(operations, "HOLD_WAIT_S", 0.0)
    root, _blobs = bound
    maintenance = services.coordination.maintenance
    grant = maintenance.acquire("c1", purpose="cleanup")
    assert maintenance.condemn("c1", grant.epoch, roots=[root.hash], refs=[KEY], keys=["aaaa"]) == ""
    assert refusal(peer.update, EMPTY, KEY) is CODE.ABORTED
    maintenance.uncondemn("c1", grant.epoch, roots=[root.hash], refs=[KEY], keys=["aaaa"])
    peer.update(EMPTY, KEY)
    assert peer.resolve(KEY) == EMPTY


@pytest.mark.usefixtures("bound")
def test_an_update_replaces_what_a_key_named(peer):
    peer.update(EMPTY, KEY)
    assert peer.resolve(KEY) == EMPTY


@pytest.mark.parametrize("left_out", range(4))
def test_an_update_to_incomplete_content_is_refused_until_it_is_complete(peer, left_out):
    root, blobs = small_tree()
    peer.upload(*(blob for place, blob in enumerate(blobs) if place != left_out))
    assert refusal(peer.update, root, KEY) is CODE.FAILED_PRECONDITION
    assert refusal(peer.resolve, KEY) is CODE.NOT_FOUND
    peer.upload(blobs[left_out])
    peer.update(root, KEY)
    assert peer.resolve(KEY) == root


def test_an_update_to_a_root_of_another_size_is_refused(peer, bound):
    root, _blobs = bound
    assert refusal(peer.update, Digest(root.hash, 1), KEY) is CODE.FAILED_PRECONDITION


def test_an_update_to_what_is_no_directory_is_refused(peer):
    (blob,) = peer.upload(b"\xff\xff not a directory")
    assert refusal(peer.update, blob, KEY) is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "key",
    ["", "a", "a/b", "a/b/c/d", "a/b/..", "../b/c", "/b/c", "a//c", "a/b/c\0", "a/b/" + "k" * 256],
)
def test_a_key_that_is_no_ref_is_invalid_to_update_and_not_found_to_get(peer, services, key):
    assert refusal(peer.update, EMPTY, KEY, key) is CODE.INVALID_ARGUMENT
    assert refusal(peer.resolve, key) is CODE.NOT_FOUND
    assert os.listdir(services.layout.refs) == []


def test_an_update_without_keys_or_digest_is_refused(peer):
    assert refusal(peer.update, EMPTY) is CODE.INVALID_ARGUMENT
    no_digest = UpdateReferenceRequest(keys=[KEY])
    assert refusal(peer.references.UpdateReference, no_digest) is CODE.INVALID_ARGUMENT


def test_an_update_of_more_keys_than_anybody_has_is_refused(peer, services):
    many = [f"demo/el/k{number}" for number in range(10_001)]
    assert refusal(peer.update, EMPTY, *many) is CODE.INVALID_ARGUMENT
    assert os.listdir(services.layout.refs) == []


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("listed", [True, False])
def test_a_reference_whose_content_is_no_longer_complete_is_not_found(peer, services, bound, lost, listed):
    root, blobs = bound
    if not listed:
        os.unlink(services.layout.closure(root.hash, "whole"))
    os.unlink(services.layout.object(Digest.of(blobs[lost]).hash))
    assert refusal(peer.resolve, KEY) is CODE.NOT_FOUND
    assert Refs(services.volume).read(REF) is not None  # withdrawn under the cleanup lease, not here


def test_a_reference_whose_content_is_cut_short_is_not_found_once_that_is_taken_away(peer, services, bound):
    path = services.layout.object(Digest.of(bound[1][0]).hash)
    os.chmod(path, 0o644)
    os.truncate(path, 3)
    assert refusal(peer.resolve, KEY) is CODE.DATA_LOSS
    settled(lambda: not os.path.exists(path))
    assert refusal(peer.resolve, KEY) is CODE.NOT_FOUND


def test_a_hit_makes_ref_and_content_young(peer, services, bound):
    paths = [services.layout.object(Digest.of(blob).hash) for blob in bound[1]]
    paths.append(services.layout.ref(REF))
    for path in paths:
        make_old(path)
    peer.resolve(KEY)
    assert [os.stat(path).st_atime_ns for path in paths].count(0) == 0
    assert services.coordination.recency.scores([KEY]) != [None]


def test_a_partial_artifact_is_not_served_as_complete(peer, services, bound):
    root, _blobs = bound
    refs, scope = Refs(services.volume), Scope.of(["bin"])
    ref = Ref("demo", "el", "part")
    with services.desk.writer("test", "partial", quiet()) as operation:
        closure = walk(root, scope, Objects(services.volume).directory)
        Closures(services.volume).write(operation.staging, closure)
        record = RefRecord.fresh((root,), origin="test", scope=scope)
        refs.publish(operation.staging, refs.stage(operation.staging, ref, record), ref)
    assert refusal(peer.resolve, str(ref)) is CODE.NOT_FOUND


def test_trouble_with_a_ref_is_not_a_miss(peer, services):
    path = services.layout.ref(REF)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"\xff\xff\xff")
    assert refusal(peer.resolve, KEY) is CODE.INTERNAL


def test_a_blob_too_large_for_a_folder_is_not_read_as_one(peer, monkeypatch):
    monkeypatch.setattr(directory, "MAX_MESSAGE_BYTES", 1000)
    (large,) = peer.upload(bytes(1001))
    assert refusal(peer.update, large, KEY) is CODE.INVALID_ARGUMENT
    assert refusal(peer.resolve, KEY) is CODE.NOT_FOUND
