"""Whatever else is named by a URI, and what was pushed with it (Remote Asset API)."""

import os
import time

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.assets import DIRECTORY_URN, Assets, plain, qualifiers
from harness.serving import message, refusal, small_tree

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from worker._protos import ref_record_pb2, remote_asset_pb2
from worker.closure import WHOLE
from worker.store.closures import Closures
from worker.store.refs import Refs

CODE = grpc.StatusCode
URI = "https://example.org/source.tar.gz"


@pytest.fixture
def assets(peer):
    return Assets(peer)


def records(services):
    return {str(entry.ref): entry.record for entry in Refs(services.volume).listing()}


def at(offset_s):
    return Timestamp(seconds=int(time.time()) + offset_s)


def test_a_blob_is_found_by_each_of_its_uris(peer, assets, services):
    (blob,) = peer.upload(b"source code")
    assets.push_blob(blob, URI, "urn:other")
    assert assets.blob(URI) == assets.blob("urn:unknown", "urn:other") == blob
    found = records(services)
    assert sorted(record.labels["uri"] for record in found.values()) == [URI, "urn:other"]
    assert {record.kind for record in found.values()} == {ref_record_pb2.BLOB}
    assert all(ref.startswith("remote-asset/blob-") for ref in found)


def test_a_directory_is_found_by_its_uri_and_is_no_blob(peer, assets):
    root, blobs = small_tree()
    peer.upload(*blobs)
    assets.push_directory(root, URI)
    assert assets.directory(URI) == root
    assert refusal(assets.blob, URI) is CODE.NOT_FOUND


def test_what_is_unknown_is_not_fetched_from_anywhere(assets):
    assert refusal(assets.blob, URI) is CODE.NOT_FOUND
    assert refusal(assets.directory, URI) is CODE.NOT_FOUND


@pytest.mark.parametrize("lost", range(5))
def test_an_asset_is_found_as_long_as_all_that_was_pushed_with_it_is_here(peer, assets, services, lost):
    root, blobs = small_tree()
    named, further = peer.upload(b"named", b"further")
    peer.upload(*blobs)
    assets.push_blob(named, URI, references_blobs=[message(further)], references_directories=[message(root)])
    (record,) = records(services).values()
    belongs = [named, further, *map(Digest.of, blobs)]
    assert set(Closures(services.volume).read(record.root.hash, "whole").digests()) > set(belongs)
    assert assets.blob(URI) == named
    os.unlink(services.layout.object(belongs[lost].hash))
    assert refusal(assets.blob, URI) is CODE.NOT_FOUND


@pytest.mark.parametrize("left_out", range(3))
def test_an_asset_of_which_anything_is_missing_is_refused(peer, assets, services, left_out):
    root, blobs = small_tree()
    contents = [b"named", b"further", blobs.pop()]
    peer.upload(*blobs, *contents[:left_out], *contents[left_out + 1 :])
    references = {
        "references_blobs": [message(Digest.of(b"further"))],
        "references_directories": [message(root)],
    }
    with pytest.raises(grpc.RpcError) as refused:
        assets.push_blob(Digest.of(b"named"), URI, **references)
    assert refused.value.code() is CODE.FAILED_PRECONDITION
    assert str(Digest.of(contents[left_out])) in refused.value.details()
    assert records(services) == {}


def test_what_is_no_directory_cannot_be_pushed_or_referenced_as_one(peer, assets, services):
    (blob,) = peer.upload(b"no directory\xff")
    assert refusal(assets.push_directory, blob, URI) is CODE.INVALID_ARGUMENT
    references = {"references_directories": [message(blob)]}
    assert refusal(assets.push_blob, blob, URI, **references) is CODE.INVALID_ARGUMENT
    assert records(services) == {}


def test_a_tree_that_is_a_ref_keeps_what_was_pushed_with_it(peer, assets, services):
    root, blobs = small_tree()
    (further,) = peer.upload(b"further")
    peer.upload(*blobs)
    assets.push_directory(
        root,
        f"{DIRECTORY_URN}demo/el/aaaa",
        references_blobs=[message(further)],
        references_directories=[message(root)],
    )
    assert peer.resolve("demo/el/aaaa") == root
    record = Refs(services.volume).read(Ref("demo", "el", "aaaa"))
    assert (record.root, len(record.roots), record.scope) == (root, 2, WHOLE)
    os.unlink(services.layout.object(further.hash))
    assert refusal(peer.resolve, "demo/el/aaaa") is CODE.NOT_FOUND


def test_a_tree_that_is_its_own_reference_has_one_root(assets, services):
    assets.push_directory(EMPTY, f"{DIRECTORY_URN}demo/el/aaaa", references_directories=[message(EMPTY)])
    assert Refs(services.volume).read(Ref("demo", "el", "aaaa")).roots == (EMPTY,)


def test_an_asset_is_found_by_exactly_the_qualifiers_it_was_pushed_with(peer, assets):
    first, second = peer.upload(b"first", b"second")
    assets.push_blob(first, URI)
    assets.push_blob(second, URI, qualifiers=qualifiers(vcs="git", branch="main"))
    assert assets.blob(URI) == first
    asked = qualifiers(branch="main", vcs="git")
    request = remote_asset_pb2.FetchBlobRequest(uris=[URI], qualifiers=asked)
    answer = assets.fetch.FetchBlob(request)
    assert (plain(answer.blob_digest), list(answer.qualifiers), answer.uri) == (second, asked, URI)
    assert refusal(assets.blob, URI, qualifiers=qualifiers(vcs="git")) is CODE.NOT_FOUND


def test_a_qualifier_that_is_named_twice_is_refused(peer, assets):
    (blob,) = peer.upload(b"source code")
    twice = qualifiers(vcs="git") + qualifiers(vcs="svn")
    assert refusal(assets.push_blob, blob, URI, qualifiers=twice) is CODE.INVALID_ARGUMENT
    assert refusal(assets.blob, URI, qualifiers=twice) is CODE.INVALID_ARGUMENT


def test_one_push_may_name_a_ref_and_another_uri(peer, assets):
    root, blobs = small_tree()
    peer.upload(*blobs)
    assets.push_directory(root, f"{DIRECTORY_URN}demo/el/aaaa", URI)
    assert peer.resolve("demo/el/aaaa") == assets.directory(URI) == root


def test_an_urn_of_an_artifact_with_qualifiers_is_not_the_ref(peer, assets, services):
    uri = f"{DIRECTORY_URN}demo/el/aaaa"
    assets.push_directory(EMPTY, uri, qualifiers=qualifiers(vcs="git"))
    assert refusal(peer.resolve, "demo/el/aaaa") is CODE.NOT_FOUND
    assert assets.directory(uri, qualifiers=qualifiers(vcs="git")) == EMPTY


def test_content_older_than_the_oldest_accepted_is_not_found(peer, assets):
    (blob,) = peer.upload(b"source code")
    assets.push_blob(blob, URI)
    assert assets.blob(URI, oldest_content_accepted=at(-3600)) == blob
    assert refusal(assets.blob, URI, oldest_content_accepted=at(3600)) is CODE.NOT_FOUND


def test_an_asset_is_not_found_after_its_end(peer, assets):
    (blob,) = peer.upload(b"source code")
    end = at(3600)
    assets.push_blob(blob, URI, expire_at=end)
    request = remote_asset_pb2.FetchBlobRequest(uris=[URI])
    assert assets.fetch.FetchBlob(request).expires_at == end
    assets.push_blob(blob, URI, expire_at=at(-1))
    assert refusal(assets.blob, URI) is CODE.NOT_FOUND


@pytest.mark.parametrize(
    "time",
    [
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-62_135_596_801),
        Timestamp(seconds=2**63 - 1, nanos=2**31 - 1),
        Timestamp(nanos=10**9),
        Timestamp(nanos=-1),
    ],
)
def test_what_is_no_time_is_invalid(peer, assets, services, time):
    (blob,) = peer.upload(b"source code")
    assert refusal(assets.push_blob, blob, URI, expire_at=time) is CODE.INVALID_ARGUMENT
    assert refusal(assets.blob, URI, oldest_content_accepted=time) is CODE.INVALID_ARGUMENT
    assert records(services) == {}


def test_the_last_time_there_is_comes_back_as_it_was(peer, assets):
    time = Timestamp(seconds=253_402_300_799, nanos=999_000_000)
    (blob,) = peer.upload(b"source code")
    assets.push_blob(blob, URI, expire_at=time)
    request = remote_asset_pb2.FetchBlobRequest(uris=[URI])
    assert assets.fetch.FetchBlob(request).expires_at == time


def test_a_short_message_cannot_have_the_server_write_gigabytes(peer, assets, services):
    (blob,) = peer.upload(b"source code")
    many = [f"u:{number}" for number in range(10_001)]
    assert refusal(assets.push_blob, blob, *many) is CODE.INVALID_ARGUMENT
    assert refusal(assets.push_directory, EMPTY, *many) is CODE.INVALID_ARGUMENT
    assert refusal(assets.blob, *many) is CODE.INVALID_ARGUMENT
    each = [remote_asset_pb2.Qualifier(name=uri) for uri in many]
    assert refusal(assets.blob, URI, qualifiers=each) is CODE.INVALID_ARGUMENT
    long = qualifiers(name="v" * 60_000)
    assert refusal(assets.push_blob, blob, *many[:280], qualifiers=long) is CODE.INVALID_ARGUMENT
    assert records(services) == {}
    assets.push_blob(blob, *many[:279], qualifiers=long)
    assert assets.blob(many[278], qualifiers=long) == blob


@pytest.mark.parametrize("uri", ["", "https://\n", "u" * 65536])
def test_what_is_no_uri_is_invalid_to_push_and_not_found_to_fetch(assets, services, uri):
    assert refusal(assets.push_blob, EMPTY, uri) is CODE.INVALID_ARGUMENT
    assert refusal(assets.blob, uri) is CODE.NOT_FOUND
    assert records(services) == {}


def test_digests_of_another_function_are_refused(assets):
    assert refusal(assets.blob, URI, digest_function="SHA512") is CODE.INVALID_ARGUMENT
    assert refusal(assets.push_blob, EMPTY, URI, digest_function="SHA512") is CODE.INVALID_ARGUMENT


def test_a_push_without_a_digest_is_refused(assets):
    request = remote_asset_pb2.PushBlobRequest(uris=[URI])
    assert refusal(assets.push.PushBlob, request) is CODE.INVALID_ARGUMENT
