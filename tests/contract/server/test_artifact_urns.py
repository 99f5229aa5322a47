"""Artifacts of both generations over Remote Asset: their URNs are the refs (wire-protocols section 6)."""

import os

import grpc
import pytest
from harness.assets import ARTIFACT_URN, DIRECTORY_URN, Assets, small_artifact
from harness.serving import make_old, refusal, serving, small_tree

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from worker._protos import ref_record_pb2
from worker.closure import WHOLE, Scope
from worker.protocols import quiet
from worker.store.closures import Closures
from worker.store.measure import used_bytes
from worker.store.refs import Refs
from worker.views import MAX_MESSAGE_BYTES

CODE = grpc.StatusCode
KEY = "demo/el/aaaa"
REF = Ref("demo", "el", "aaaa")
ARTIFACT, TREE = f"{ARTIFACT_URN}{KEY}", f"{DIRECTORY_URN}{KEY}"
CALLS = ("blob", "directory")


@pytest.fixture
def assets(peer):
    return Assets(peer)


@pytest.fixture
def artifact(peer):
    """A whole artifact, uploaded: the digest of its message, and its blobs by part."""
    digest, parts = small_artifact()
    for blobs in parts.values():
        peer.upload(*blobs)
    return digest, parts


def uploaded(peer, parts, *, without=()):
    peer.upload(*(blob for name, blobs in parts.items() for blob in blobs if name not in without))


def test_a_directory_urn_and_a_key_of_reference_storage_are_one_ref(peer, assets):
    root, blobs = small_tree()
    peer.upload(*blobs)
    assets.push_directory(root, TREE, f"{DIRECTORY_URN}demo/el/bbbb")
    assert peer.resolve(KEY) == peer.resolve("demo/el/bbbb") == root
    peer.update(EMPTY, KEY)
    assert assets.directory(TREE) == EMPTY
    assert refusal(assets.blob, ARTIFACT) is CODE.NOT_FOUND


def test_an_artifact_is_one_ref_with_all_that_it_references(peer, assets, services, artifact):
    digest, parts = artifact
    assets.push_blob(digest, ARTIFACT, f"{ARTIFACT_URN}demo/el/bbbb")
    assert assets.blob(ARTIFACT) == assets.blob(f"{ARTIFACT_URN}demo/el/bbbb") == digest
    record = Refs(services.volume).read(REF)
    assert (record.kind, record.scope, record.origin) == (ref_record_pb2.ARTIFACT, WHOLE, "server")
    kept = set(Closures(services.volume).read(record.root.hash, "whole").digests())
    assert kept > {Digest.of(blob) for blobs in parts.values() for blob in blobs}
    assert peer.missing(*kept) == []
    assert refusal(peer.resolve, KEY) is CODE.NOT_FOUND  # it is no directory tree
    assert refusal(assets.directory, TREE) is CODE.NOT_FOUND


def test_an_artifact_without_its_build_tree_is_recorded_as_partial_and_completed_later(
    peer, assets, services
):
    digest, parts = small_artifact()
    uploaded(peer, parts, without={"buildtree"})
    assets.push_blob(digest, ARTIFACT)
    assert assets.blob(ARTIFACT) == digest
    assert Refs(services.volume).read(REF).scope.excluded == ("buildtree",)
    peer.upload(*parts["buildtree"])
    assets.push_blob(digest, ARTIFACT)
    assert Refs(services.volume).read(REF).scope == WHOLE


def test_a_build_tree_of_which_a_file_is_missing_is_left_out_as_a_whole(peer, assets, services):
    digest, parts = small_artifact()
    _own, folder = parts.pop("buildtree")
    uploaded(peer, {**parts, "buildtree": [folder]})
    assets.push_blob(digest, ARTIFACT)
    record = Refs(services.volume).read(REF)
    kept = set(Closures(services.volume).read(record.root.hash, record.scope.id).digests())
    assert (record.scope.excluded, Digest.of(folder) in kept) == (("buildtree",), False)


@pytest.mark.parametrize("part", ["files", "meta", "log", "message"])
def test_an_artifact_that_is_incomplete_is_refused_by_the_digest_that_is_missing(
    peer, assets, services, part
):
    digest, parts = small_artifact()
    uploaded(peer, parts, without={part})
    with pytest.raises(grpc.RpcError) as refused:
        assets.push_blob(digest, ARTIFACT)
    assert refused.value.code() is CODE.FAILED_PRECONDITION
    assert any(str(Digest.of(blob)) in refused.value.details() for blob in parts[part])
    assert refusal(assets.blob, ARTIFACT) is CODE.NOT_FOUND
    assert os.listdir(services.layout.refs) == []


@pytest.mark.parametrize("part", ["files", "buildtree", "meta", "log", "message"])
def test_an_artifact_that_lost_a_blob_is_not_found(assets, services, artifact, part):
    digest, parts = artifact
    assets.push_blob(digest, ARTIFACT)
    os.unlink(services.layout.object(Digest.of(parts[part][-1]).hash))
    assert refusal(assets.blob, ARTIFACT) is CODE.NOT_FOUND


@pytest.mark.parametrize(("excluded", "served"), [(["buildtree"], True), (["files"], False)])
def test_of_what_workers_left_out_only_optional_parts_may_be_missing(
    assets, services, artifact, excluded, served
):
    digest, _parts = artifact
    assets.push_blob(digest, ARTIFACT)
    refs = Refs(services.volume)
    record = refs.read(REF)._replace(scope=Scope.of(excluded))
    with services.desk.writer("test", "partial", quiet()) as operation:
        refs.publish(operation.staging, refs.stage(operation.staging, REF, record), REF)
    if served:
        assert assets.blob(ARTIFACT) == digest
    else:
        assert refusal(assets.blob, ARTIFACT) is CODE.NOT_FOUND


def test_a_hit_makes_the_ref_and_all_of_the_artifact_young(assets, services, artifact):
    digest, parts = artifact
    assets.push_blob(digest, ARTIFACT)
    paths = [services.layout.object(Digest.of(blob).hash) for blobs in parts.values() for blob in blobs]
    paths.append(services.layout.ref(REF))
    for path in paths:
        make_old(path)
    assets.blob(ARTIFACT)
    assert [os.stat(path).st_atime_ns for path in paths].count(0) == 0


def test_what_is_composed_for_an_artifact_comes_after_its_content_and_before_its_ref(
    assets, services, artifact, monkeypatch
):
    digest, parts = artifact
    changes = []
    monkeypatch.setattr(services.volume, "_change", lambda verb, *paths: changes.append((verb, paths[-1])))
    assets.push_blob(digest, ARTIFACT)
    path = services.layout.object
    root = Refs(services.volume).read(REF).root
    composed = [
        where for verb, where in changes if verb == "publish" and where.startswith(services.layout.objects)
    ]
    assert composed[-1] == path(root.hash)
    touched = [
        changes.index(("touch", path(Digest.of(blob).hash))) for blobs in parts.values() for blob in blobs
    ]
    order = [
        max(touched),
        *(changes.index(("publish", where)) for where in composed),
        changes.index(("publish", services.layout.closure(root.hash, "whole"))),
        changes.index(("sync", services.layout.root)),
        changes.index(("replace", services.layout.ref(REF))),
    ]
    assert order == sorted(order)


def test_what_an_artifact_brought_is_accounted_and_goes_with_it(services):
    digest, parts = small_artifact()
    with serving(services) as peer:
        uploaded(peer, parts, without={"buildtree"})
        Assets(peer).push_blob(digest, ARTIFACT)
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (used_bytes(services.volume), 0)
    for folder, _, names in os.walk(services.layout.root):
        for name in names:
            if folder == services.layout.staging or "/cas/" in folder:
                os.utime(f"{folder}/{name}", (0, 0))
    services.cleanup.clean(target_bytes=0, dry_run=False, context=quiet())
    assert os.listdir(services.layout.refs) == []
    assert (used_bytes(services.volume), services.coordination.usage.snapshot().used_bytes) == (0, 0)


def test_the_first_urn_that_is_known_answers(assets, artifact):
    digest, _parts = artifact
    assets.push_blob(digest, ARTIFACT)
    assert assets.blob(f"{ARTIFACT_URN}demo/el/none", f"{ARTIFACT_URN}no-ref", ARTIFACT) == digest


@pytest.mark.parametrize("data", [b"no message\xff", b"", b"\x10\x01"])
def test_a_blob_that_is_no_artifact_cannot_be_bound_as_one(peer, assets, data):
    (digest,) = peer.upload(data)
    assert refusal(assets.push_blob, digest, ARTIFACT) is CODE.INVALID_ARGUMENT


def test_a_blob_too_large_for_an_artifact_message_is_not_read(assets):
    large = Digest("0" * 64, MAX_MESSAGE_BYTES + 1)
    assert refusal(assets.push_blob, large, ARTIFACT) is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize("tail", ["", "a/b", "a/b/c/d", "a/b/..", "../b/c", "a/b/c\0"])
def test_an_urn_of_no_ref_is_invalid_to_push_and_not_found_to_fetch(peer, assets, services, tail):
    assert refusal(assets.push_blob, EMPTY, f"{ARTIFACT_URN}{tail}") is CODE.INVALID_ARGUMENT
    assert refusal(assets.push_directory, EMPTY, TREE, f"{DIRECTORY_URN}{tail}") is CODE.INVALID_ARGUMENT
    assert refusal(assets.blob, f"{ARTIFACT_URN}{tail}") is CODE.NOT_FOUND
    assert refusal(assets.directory, f"{DIRECTORY_URN}{tail}") is CODE.NOT_FOUND
    assert os.listdir(services.layout.refs) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_request_without_uris_says_that_the_service_is_there(assets, reader, call):
    """How BuildStream probes a server."""
    assert refusal(getattr(assets, call)) is CODE.INVALID_ARGUMENT
    assert refusal(getattr(assets, f"push_{call}"), EMPTY) is CODE.INVALID_ARGUMENT
    read_only = Assets(reader)
    assert refusal(getattr(read_only, call)) is CODE.INVALID_ARGUMENT
    assert refusal(getattr(read_only, f"push_{call}"), EMPTY) is CODE.PERMISSION_DENIED


def test_a_read_only_server_answers_fetches_and_refuses_pushes(assets, reader, artifact):
    digest, _parts = artifact
    assets.push_blob(digest, ARTIFACT)
    assert Assets(reader).blob(ARTIFACT) == digest
    assert refusal(Assets(reader).push_blob, digest, ARTIFACT) is CODE.PERMISSION_DENIED
    assert refusal(Assets(reader).push_directory, EMPTY, TREE) is CODE.PERMISSION_DENIED


def test_trouble_with_a_ref_is_not_a_miss(assets, services):
    path = services.layout.ref(REF)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"\xff\xff\xff")
    assert refusal(assets.blob, ARTIFACT) is CODE.INTERNAL
    assert refusal(assets.directory, TREE) is CODE.INTERNAL
