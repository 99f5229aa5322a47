"""The server as a peer meets it: plain generated stubs over loopback (wire-protocols sections 3 to 5, 12)."""

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from harness.serving import Peer, age_ns, object_path, serving, wire

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import ConfigInvalid
from worker._protos import bytestream_pb2 as stream
from worker._protos import reference_storage_pb2 as reference
from worker._protos import remote_execution_pb2 as reapi
from worker.closure import WHOLE, Scope, walk
from worker.protocols import quiet
from worker.server.answers import answering
from worker.server.app import serve
from worker.store.closures import Closures
from worker.store.measure import used_bytes
from worker.store.objects import Objects
from worker.store.refs import RefRecord, Refs

pytest_plugins = ("harness.valkey",)

CODE = grpc.StatusCode


@pytest.fixture
def parts(tmp_path, valkey):
    made = wire(tmp_path, valkey.url)
    yield made
    made.close()


@pytest.fixture
def peer(parts):
    with serving(parts) as made:
        yield made


@pytest.fixture
def reader(parts):
    with serving(parts, read_only=True) as made:
        yield made


def message(digest):
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def upload(peer, *blobs):
    requests = [
        reapi.BatchUpdateBlobsRequest.Request(digest=message(Digest.of(blob)), data=blob) for blob in blobs
    ]
    answer = peer.cas.BatchUpdateBlobs(reapi.BatchUpdateBlobsRequest(requests=requests))
    assert [entry.status.code for entry in answer.responses] == [0] * len(blobs)
    return [Digest.of(blob) for blob in blobs]


def missing(peer, *digests):
    answer = peer.cas.FindMissingBlobs(
        reapi.FindMissingBlobsRequest(blob_digests=[message(digest) for digest in digests])
    )
    return [Digest(digest.hash, digest.size_bytes) for digest in answer.missing_blob_digests]


def read(peer, name, *, offset=0, limit=0):
    answers = peer.bytestream.Read(
        stream.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
    )
    return b"".join(answer.data for answer in answers)


def upload_name(digest, *, instance=""):
    return f"{instance}uploads/{uuid.uuid4()}/blobs/{digest}"


def write(peer, *requests):
    return peer.bytestream.Write(iter(requests)).committed_size


def refusal(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments, **options)
    return refused.value.code()


def settled(condition):
    """Wait until it is so; what another thread does has no moment that could be named."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    assert condition()


def tree(peer):
    """A small tree, uploaded: its root and everything in it."""
    files = [b"#!/bin/sh\necho hello\n", b"readme\n"]
    run, readme = (message(Digest.of(data)) for data in files)
    inner = reapi.Directory(files=[reapi.FileNode(name="hello", digest=run, is_executable=True)])
    inner_bytes = inner.SerializeToString()
    root = reapi.Directory(
        files=[reapi.FileNode(name="README", digest=readme)],
        directories=[reapi.DirectoryNode(name="bin", digest=message(Digest.of(inner_bytes)))],
        symlinks=[reapi.SymlinkNode(name="run", target="bin/hello")],
    ).SerializeToString()
    return Digest.of(root), [*files, inner_bytes, root]


def update(peer, root, *keys):
    return peer.references.UpdateReference(reference.UpdateReferenceRequest(keys=keys, digest=message(root)))


def resolve(peer, key, **options):
    found = peer.references.GetReference(reference.GetReferenceRequest(key=key, **options)).digest
    return Digest(found.hash, found.size_bytes)


# -- capabilities and status ---------------------------------------------------------------------------


def test_capabilities_of_a_writable_server(peer):
    cache = peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest(instance_name="main"))
    assert list(cache.cache_capabilities.digest_functions) == [reapi.DigestFunction.SHA256]
    assert cache.cache_capabilities.max_batch_total_size_bytes == 1024 * 1024
    assert cache.cache_capabilities.action_cache_update_capabilities.update_enabled
    assert (
        cache.cache_capabilities.symlink_absolute_path_strategy == reapi.SymlinkAbsolutePathStrategy.ALLOWED
    )
    assert (cache.low_api_version.major, cache.high_api_version.major) == (2, 2)
    assert peer.references.Status(reference.StatusRequest()).allow_updates


def test_the_negotiation_of_an_old_client_succeeds(peer):
    assert not peer.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest()).responses
    assert not peer.cas.BatchUpdateBlobs(reapi.BatchUpdateBlobsRequest()).responses


# -- FindMissing ---------------------------------------------------------------------------------------


def test_find_missing_answers_for_hash_and_size_each_once_in_order(peer):
    (here,) = upload(peer, b"here")
    other_size = Digest(here.hash, 5)
    absent = Digest.of(b"absent")
    assert missing(peer, absent, here, other_size, EMPTY, absent) == [absent, other_size]


def test_find_missing_makes_young_what_is_there(peer, parts):
    (here,) = upload(peer, b"here")
    path = object_path(parts, here)
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns))
    assert missing(peer, here) == []
    (folder,) = os.listdir(parts.volume.layout.staging)
    start_ns = os.stat(f"{parts.volume.layout.staging}/{folder}/start").st_mtime_ns
    assert age_ns(path) >= start_ns


@pytest.mark.parametrize(
    ("hash_hex", "size_bytes"), [("AB" * 32, 1), ("ab", 1), ("", 0), ("ab" * 32, -1), ("../" + "a" * 61, 1)]
)
def test_find_missing_refuses_what_is_no_digest(peer, hash_hex, size_bytes):
    request = reapi.FindMissingBlobsRequest(blob_digests=[reapi.Digest(hash=hash_hex, size_bytes=size_bytes)])
    assert refusal(peer.cas.FindMissingBlobs, request) is CODE.INVALID_ARGUMENT


# -- batches -------------------------------------------------------------------------------------------


def test_a_batch_comes_back_as_it_went_in(peer):
    blobs = [b"one", b"", b"two" * 1000, bytes(range(256))]
    digests = upload(peer, *blobs)
    answer = peer.cas.BatchReadBlobs(
        reapi.BatchReadBlobsRequest(digests=[message(digest) for digest in digests])
    )
    assert [entry.data for entry in answer.responses] == blobs
    assert [entry.status.code for entry in answer.responses] == [0] * 4


def test_each_entry_of_a_batch_update_has_its_own_status(peer):
    good, other = b"good", b"another good one"
    Entry = reapi.BatchUpdateBlobsRequest.Request  # noqa: N806 -- a class
    answer = peer.cas.BatchUpdateBlobs(
        reapi.BatchUpdateBlobsRequest(
            requests=[
                Entry(digest=message(Digest.of(good)), data=good),
                Entry(digest=message(Digest.of(b"claimed")), data=b"forged!"),
                Entry(digest=message(Digest(Digest.of(b"short").hash, 99)), data=b"short"),
                Entry(digest=reapi.Digest(hash="no hash", size_bytes=1), data=b"x"),
                Entry(digest=message(Digest.of(b"zipped")), data=b"zipped", compressor=1),
                Entry(digest=message(Digest.of(other)), data=other),
            ]
        )
    )
    assert [entry.status.code for entry in answer.responses] == [0, 9, 9, 3, 3, 0]
    assert missing(peer, Digest.of(good), Digest.of(other), Digest.of(b"claimed")) == [Digest.of(b"claimed")]


def test_each_entry_of_a_batch_read_has_its_own_status(peer):
    (here,) = upload(peer, b"here")
    absent = Digest.of(b"absent")
    answer = peer.cas.BatchReadBlobs(
        reapi.BatchReadBlobsRequest(
            digests=[
                message(absent),
                message(Digest(here.hash, 3)),
                reapi.Digest(hash="x", size_bytes=1),
                message(here),
            ]
        )
    )
    assert [entry.status.code for entry in answer.responses] == [5, 5, 3, 0]
    assert [entry.digest.hash for entry in answer.responses][:2] == [absent.hash, here.hash]


def test_a_batch_over_the_limit_is_refused_whole(peer):
    half = b"x" * (600 * 1024)
    other = b"y" * (600 * 1024)
    request = reapi.BatchUpdateBlobsRequest(
        requests=[
            reapi.BatchUpdateBlobsRequest.Request(digest=message(Digest.of(blob)), data=blob)
            for blob in (half, other)
        ]
    )
    assert refusal(peer.cas.BatchUpdateBlobs, request) is CODE.INVALID_ARGUMENT
    assert missing(peer, Digest.of(half)) == [Digest.of(half)]
    (first,), (second,) = upload(peer, half), upload(peer, other)
    too_much = reapi.BatchReadBlobsRequest(digests=[message(first), message(second)])
    assert refusal(peer.cas.BatchReadBlobs, too_much) is CODE.INVALID_ARGUMENT


def test_negative_sizes_do_not_lift_the_limit(peer):
    (large,) = upload(peer, b"x" * (1024 * 1024))
    request = reapi.BatchReadBlobsRequest(
        digests=[message(large), message(large), reapi.Digest(hash=large.hash, size_bytes=-(2**21))]
    )
    assert refusal(peer.cas.BatchReadBlobs, request) is CODE.INVALID_ARGUMENT


# -- ByteStream ----------------------------------------------------------------------------------------


def test_a_large_blob_goes_in_and_out_in_pieces(peer, parts):
    data = os.urandom(3 * 1024 * 1024 + 17)
    digest, step = Digest.of(data), 700 * 1024
    offsets = range(0, len(data), step)
    name = upload_name(digest, instance="a/b/")
    committed = write(
        peer,
        *(
            stream.WriteRequest(
                resource_name=name if offset == 0 else "",
                write_offset=offset,
                data=data[offset : offset + step],
                finish_write=offset == offsets[-1],
            )
            for offset in offsets
        ),
    )
    assert committed == len(data)
    assert read(peer, f"a/b/blobs/{digest}") == data
    assert read(peer, str(digest)) == data
    there = os.stat(object_path(parts, digest))
    assert there.st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    ("offset", "limit", "start", "end"),
    [(0, 0, 0, 10), (3, 0, 3, 10), (3, 4, 3, 7), (8, 9, 8, 10), (10, 0, 10, 10)],
)
def test_a_read_begins_and_ends_where_it_is_told(peer, offset, limit, start, end):
    data = b"0123456789"
    (digest,) = upload(peer, data)
    assert read(peer, f"blobs/{digest}", offset=offset, limit=limit) == data[start:end]


@pytest.mark.parametrize(
    ("offset", "limit", "code"),
    [(11, 0, CODE.OUT_OF_RANGE), (-1, 0, CODE.OUT_OF_RANGE), (0, -1, CODE.INVALID_ARGUMENT)],
)
def test_a_read_outside_the_blob_is_refused(peer, offset, limit, code):
    (digest,) = upload(peer, b"0123456789")
    assert refusal(read, peer, f"blobs/{digest}", offset=offset, limit=limit) is code


def test_a_read_of_what_is_not_there_is_not_found(peer):
    (digest,) = upload(peer, b"here")
    for name in (
        f"blobs/{Digest.of(b'absent')}",
        f"blobs/{digest.hash}/3",
        "nonsense",
        "blobs/../../etc/passwd/1",
    ):
        assert refusal(read, peer, name) is CODE.NOT_FOUND
    assert refusal(read, peer, f"blobs/{Digest.of(b'absent')}", offset=99) is CODE.NOT_FOUND


def test_the_empty_blob_is_always_there(peer):
    assert read(peer, f"blobs/{EMPTY}") == b""
    assert write(peer, stream.WriteRequest(resource_name=upload_name(EMPTY), finish_write=True)) == 0


def test_an_upload_of_what_is_there_is_answered_before_its_data(peer):
    data = b"x" * 1000
    (digest,) = upload(peer, data)
    assert write(peer, stream.WriteRequest(resource_name=upload_name(digest), data=data[:10])) == len(data)


def uploads_that_break_the_protocol():
    data = b"0123456789"
    name, other = upload_name(Digest.of(data)), upload_name(Digest.of(data))
    W = stream.WriteRequest  # noqa: N806 -- a class
    return {
        "first offset": [W(resource_name=name, write_offset=3, data=data[3:], finish_write=True)],
        "a gap": [W(resource_name=name, data=data[:3]), W(write_offset=4, data=data[4:], finish_write=True)],
        "too long": [W(resource_name=name, data=data + b"x", finish_write=True)],
        "too short": [W(resource_name=name, data=data[:9], finish_write=True)],
        "other bytes": [W(resource_name=name, data=b"9876543210", finish_write=True)],
        "no finish": [W(resource_name=name, data=data)],
        "after the finish": [W(resource_name=name, data=data, finish_write=True), W(write_offset=10)],
        "another name": [
            W(resource_name=name, data=data[:3]),
            W(resource_name=other, write_offset=3, data=data[3:], finish_write=True),
        ],
    }


@pytest.mark.parametrize("how", uploads_that_break_the_protocol())
def test_an_upload_that_breaks_the_protocol_leaves_nothing(peer, parts, how):
    assert refusal(write, peer, *uploads_that_break_the_protocol()[how]) is CODE.FAILED_PRECONDITION
    digest = Digest.of(b"0123456789")
    assert missing(peer, digest) == [digest]
    (folder,) = os.listdir(parts.volume.layout.staging)
    assert os.listdir(f"{parts.volume.layout.staging}/{folder}") == ["start"]


@pytest.mark.parametrize(
    "name", ["", "blobs/x/1", f"uploads/1/blobs/{EMPTY}", f"uploads/../../blobs/{EMPTY}"]
)
def test_an_upload_to_no_place_is_not_found(peer, name):
    assert refusal(write, peer, stream.WriteRequest(resource_name=name, finish_write=True)) is CODE.NOT_FOUND


def test_an_upload_without_a_request_is_refused(peer):
    assert refusal(write, peer) is CODE.INVALID_ARGUMENT


def test_an_upload_whose_client_goes_away_leaves_nothing_and_is_no_bug(peer, parts, caplog):
    going = threading.Event()

    def half():
        yield stream.WriteRequest(resource_name=upload_name(Digest.of(b"0123456789")), data=b"01234")
        going.wait()

    call = peer.bytestream.Write.future(half())
    staging = parts.volume.layout.staging
    (folder,) = os.listdir(staging)
    settled(lambda: len(os.listdir(f"{staging}/{folder}")) == 2)
    call.cancel()
    settled(lambda: os.listdir(f"{staging}/{folder}") == ["start"])
    going.set()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_upload_under_a_fenced_operation_is_aborted_and_may_be_repeated(peer, parts):
    data = b"0123456789"
    digest, staging = Digest.of(data), parts.volume.layout.staging
    whole = stream.WriteRequest(resource_name=upload_name(digest), data=data, finish_write=True)

    def halves():
        yield stream.WriteRequest(resource_name=upload_name(digest), data=data[:5])
        (folder,) = os.listdir(staging)
        settled(lambda: len(os.listdir(f"{staging}/{folder}")) == 2)
        os.rename(f"{staging}/{folder}", f"{parts.volume.layout.root}/fenced")
        yield stream.WriteRequest(write_offset=5, data=data[5:], finish_write=True)

    assert refusal(peer.bytestream.Write, halves()) is CODE.ABORTED
    assert not os.path.exists(object_path(parts, digest))
    assert write(peer, whole) == len(data)


def test_two_uploads_of_one_blob_at_once_both_succeed_and_leave_nothing_else(peer, parts):
    data = os.urandom(100_000)
    digest = Digest.of(data)

    def halves():
        yield stream.WriteRequest(resource_name=upload_name(digest), data=data[:50_000])
        first = stream.WriteRequest(resource_name=upload_name(digest), data=data, finish_write=True)
        assert write(peer, first) == len(data)
        yield stream.WriteRequest(write_offset=50_000, data=data[50_000:], finish_write=True)

    assert peer.bytestream.Write(halves()).committed_size == len(data)
    assert read(peer, f"blobs/{digest}") == data
    (folder,) = os.listdir(parts.volume.layout.staging)
    assert os.listdir(f"{parts.volume.layout.staging}/{folder}") == ["start"]


def test_what_is_not_served_says_so(peer):
    assert refusal(read, peer, f"compressed-blobs/zstd/{EMPTY}") is CODE.INVALID_ARGUMENT
    query = peer.channel.unary_unary("/google.bytestream.ByteStream/QueryWriteStatus")
    assert refusal(query, b"") is CODE.UNIMPLEMENTED


# -- references ----------------------------------------------------------------------------------------


def test_a_tree_is_bound_to_every_key_and_resolved(peer, parts):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa", "demo/el/bbbb")
    assert resolve(peer, "demo/el/aaaa", instance_name="main") == root
    assert resolve(peer, "demo/el/bbbb") == root
    record = Refs(parts.volume).read(Ref("demo", "el", "aaaa"))
    assert (record.roots, record.kind, record.scope, record.origin) == ((root,), 0, WHOLE, "server")
    assert Closures(parts.volume).read(root.hash, "whole") is not None


def test_an_update_replaces_what_a_key_named(peer):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa")
    update(peer, EMPTY, "demo/el/aaaa")
    assert resolve(peer, "demo/el/aaaa") == EMPTY
    update(peer, root, "demo/el/aaaa")
    assert resolve(peer, "demo/el/aaaa") == root


@pytest.mark.parametrize("left_out", range(4))
def test_an_update_to_incomplete_content_is_refused(peer, left_out):
    root, blobs = tree(peer)
    upload(peer, *(blob for place, blob in enumerate(blobs) if place != left_out))
    assert refusal(update, peer, root, "demo/el/aaaa") is CODE.FAILED_PRECONDITION
    assert refusal(resolve, peer, "demo/el/aaaa") is CODE.NOT_FOUND
    upload(peer, blobs[left_out])
    update(peer, root, "demo/el/aaaa")
    assert resolve(peer, "demo/el/aaaa") == root


def test_an_update_to_what_is_no_directory_is_refused(peer):
    (blob,) = upload(peer, b"\xff\xff not a directory")
    assert refusal(update, peer, blob, "demo/el/aaaa") is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "key", ["", "a", "a/b", "a/b/c/d", "a/b/..", "../b/c", "/b/c", "a//c", "a/b/c\0", "a/b/" + "k" * 256]
)
def test_a_key_that_is_no_ref_is_invalid_to_update_and_not_found_to_get(peer, parts, key):
    assert refusal(update, peer, EMPTY, "demo/el/aaaa", key) is CODE.INVALID_ARGUMENT
    assert refusal(resolve, peer, key) is CODE.NOT_FOUND
    assert os.listdir(parts.volume.layout.refs) == []


def test_an_update_without_keys_or_digest_is_refused(peer):
    assert refusal(update, peer, EMPTY) is CODE.INVALID_ARGUMENT
    no_digest = reference.UpdateReferenceRequest(keys=["a/b/c"])
    assert refusal(peer.references.UpdateReference, no_digest) is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("listed", [True, False])
def test_a_reference_whose_content_is_no_longer_complete_is_not_found(peer, parts, lost, listed):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa")
    if not listed:
        os.unlink(parts.volume.layout.closure(root.hash, "whole"))
    os.unlink(object_path(parts, Digest.of(blobs[lost])))
    assert refusal(resolve, peer, "demo/el/aaaa") is CODE.NOT_FOUND
    assert Refs(parts.volume).read(Ref("demo", "el", "aaaa")) is not None  # withdrawn by a cleanup, not here


def test_a_reference_whose_content_is_cut_short_is_not_found(peer, parts):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa")
    path = object_path(parts, Digest.of(blobs[0]))
    os.chmod(path, 0o644)
    os.truncate(path, 3)
    assert refusal(resolve, peer, "demo/el/aaaa") is CODE.NOT_FOUND


def test_a_hit_makes_ref_and_content_young(peer, parts):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa")
    paths = [object_path(parts, Digest.of(blob)) for blob in blobs]
    paths.append(parts.volume.layout.ref(Ref("demo", "el", "aaaa")))
    for path in paths:
        os.utime(path, ns=(0, os.stat(path).st_mtime_ns))
    resolve(peer, "demo/el/aaaa")
    assert all(age_ns(path) > 0 for path in paths)


def test_a_partial_artifact_is_not_served_as_complete(peer, parts):
    root, blobs = tree(peer)
    upload(peer, *blobs)
    refs, scope = Refs(parts.volume), Scope.of(["bin"])
    ref = Ref("demo", "el", "part")
    with parts.desk.writer("test", "partial", quiet()) as operation:
        closure = walk(root, scope, Objects(parts.volume).directory)
        Closures(parts.volume).write(operation.staging, closure)
        record = RefRecord.fresh((root,), origin="test", scope=scope)
        refs.publish(operation.staging, refs.stage(operation.staging, ref, record), ref)
    assert refusal(resolve, peer, str(ref)) is CODE.NOT_FOUND


def test_trouble_with_a_ref_is_not_a_miss(peer, parts):
    path = parts.volume.layout.ref(Ref("demo", "el", "aaaa"))
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"\xff\xff\xff")
    assert refusal(resolve, peer, "demo/el/aaaa") is CODE.INTERNAL


# -- read-only -----------------------------------------------------------------------------------------


def test_a_read_only_server_reads_and_looks(parts, reader):
    root, blobs = tree(reader)
    with serving(parts) as writer:
        upload(writer, *blobs)
        update(writer, root, "demo/el/aaaa")
    assert resolve(reader, "demo/el/aaaa") == root
    assert missing(reader, root, Digest.of(b"absent")) == [Digest.of(b"absent")]
    assert Digest.of(read(reader, f"blobs/{root}")) == root
    answer = reader.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest(digests=[message(root)]))
    assert answer.responses[0].data == blobs[-1]


def test_a_read_only_server_changes_nothing(parts, reader):
    digest = Digest.of(b"new")
    assert not reader.references.Status(reference.StatusRequest()).allow_updates
    cache = reader.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest()).cache_capabilities
    assert not cache.action_cache_update_capabilities.update_enabled
    assert refusal(reader.cas.BatchUpdateBlobs, reapi.BatchUpdateBlobsRequest()) is CODE.PERMISSION_DENIED
    assert refusal(update, reader, EMPTY, "a/b/c") is CODE.PERMISSION_DENIED
    request = stream.WriteRequest(resource_name=upload_name(digest), data=b"new", finish_write=True)
    assert refusal(write, reader, request) is CODE.PERMISSION_DENIED
    assert missing(reader, digest) == [digest]


# -- accounting and the life of the server -------------------------------------------------------------


def test_everything_stored_is_accounted(parts):
    with serving(parts) as peer:
        root, blobs = tree(peer)
        upload(peer, *blobs, os.urandom(300_000))
        upload(peer, *blobs)
        update(peer, root, "demo/el/aaaa", "demo/el/bbbb")
        data = os.urandom(2_000_000)
        request = stream.WriteRequest(
            resource_name=upload_name(Digest.of(data)), data=data, finish_write=True
        )
        assert write(peer, request) == len(data)
        assert refusal(write, peer, *uploads_that_break_the_protocol()["other bytes"])
        usage = parts.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= used_bytes(parts.volume)
    usage = parts.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (used_bytes(parts.volume), 0)
    assert os.listdir(parts.volume.layout.staging) == []


def test_what_is_uploaded_becomes_used_while_the_server_runs(tmp_path, valkey):
    parts = wire(tmp_path, valkey.url, grace_s=2.0)
    try:
        with serving(parts) as peer:
            upload(peer, os.urandom(300_000))
            wanted = used_bytes(parts.volume)
            settled(lambda: parts.coordination.usage.snapshot().used_bytes == wanted)
            assert os.listdir(parts.volume.layout.staging)
        assert parts.coordination.usage.snapshot()[:2] == (wanted, 0)
    finally:
        parts.close()


def test_what_does_not_fit_into_the_quota_is_refused_and_what_fits_is_taken(tmp_path, valkey):
    parts = wire(tmp_path, valkey.url, quota="4M")
    try:
        with serving(parts) as peer:
            large = Digest(Digest.of(b"large").hash, 5 * 1024 * 1024)
            request = stream.WriteRequest(resource_name=upload_name(large), data=b"large")
            assert refusal(write, peer, request) is CODE.RESOURCE_EXHAUSTED
            upload(peer, b"small")
    finally:
        parts.close()


def test_the_server_goes_on_after_redis_forgot_everything(peer, valkey):

    (before,) = upload(peer, b"before")
    with valkey.client() as client:
        client.flushall()
    (after,) = upload(peer, b"after")
    root, blobs = tree(peer)
    upload(peer, *blobs)
    update(peer, root, "demo/el/aaaa")
    assert resolve(peer, "demo/el/aaaa") == root
    assert missing(peer, before, after) == []


def test_the_server_goes_on_after_its_operation_was_fenced(parts, peer):
    upload(peer, b"before")
    (folder,) = os.listdir(parts.volume.layout.staging)
    os.rename(f"{parts.volume.layout.staging}/{folder}", f"{parts.volume.layout.root}/fenced")
    upload(peer, b"after")
    (successor,) = os.listdir(parts.volume.layout.staging)
    assert successor != folder


@pytest.mark.parametrize(
    "listen", ["", "here", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", "::1:80", ":80"]
)
def test_an_address_that_is_none_is_a_configuration_error(parts, listen):
    with pytest.raises(ConfigInvalid):
        serve(parts, listen=listen)


def test_a_port_that_is_taken_is_a_configuration_error(parts):
    running = serve(parts, listen="127.0.0.1:0")
    try:
        with pytest.raises(ConfigInvalid):
            serve(parts, listen=running.address)
    finally:
        running.stop(grace_s=0)


def test_stopping_lets_running_calls_end(parts):
    running = serve(parts, listen="127.0.0.1:0")
    peer = Peer(running.address)
    data = os.urandom(2_000_000)
    digest = Digest.of(data)
    with parts.desk.writer("test", "seed", quiet()) as operation:
        operation.blobs.write_stream(digest, [data])
    answers = peer.bytestream.Read(stream.ReadRequest(resource_name=f"blobs/{digest}"))
    first = next(answers).data
    stopping = threading.Thread(target=running.stop, kwargs={"grace_s": 30})
    stopping.start()
    assert first + b"".join(answer.data for answer in answers) == data
    stopping.join()
    peer.channel.close()
