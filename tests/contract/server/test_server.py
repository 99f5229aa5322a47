"""The server as a whole: what it offers, read-only, accounting, and what may happen while it runs."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from harness.serving import (
    Peer,
    entry,
    make_old,
    message,
    open_services,
    operations,
    refusal,
    serving,
    settled,
    small_tree,
    staged,
    upload_name,
)

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import ConfigInvalid
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2 import ReadRequest, WriteRequest
from worker._protos.reference_storage_pb2 import StatusRequest
from worker.protocols import quiet
from worker.server import rolling
from worker.server.answers import answering
from worker.server.app import serve
from worker.store.measure import used_bytes

CODE = grpc.StatusCode
KEY = "demo/el/aaaa"


# -- what it offers ------------------------------------------------------------------------------------


def test_capabilities_of_a_writable_server(peer):
    answer = peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest(instance_name="main"))
    cache = answer.cache_capabilities
    assert list(cache.digest_functions) == [reapi.DigestFunction.SHA256]
    assert cache.max_batch_total_size_bytes == 1024 * 1024
    assert cache.action_cache_update_capabilities.update_enabled
    assert cache.symlink_absolute_path_strategy == reapi.SymlinkAbsolutePathStrategy.ALLOWED
    assert (answer.low_api_version.major, answer.high_api_version.major) == (2, 2)
    assert peer.references.Status(StatusRequest()).allow_updates


def test_the_negotiation_of_an_old_client_succeeds(peer):
    assert not peer.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest()).responses
    assert not peer.cas.BatchUpdateBlobs(reapi.BatchUpdateBlobsRequest()).responses


def test_a_read_only_server_reads_and_looks(services, reader):
    root, blobs = small_tree()
    with serving(services) as writer:
        writer.upload(*blobs)
        writer.update(root, KEY)
    assert reader.resolve(KEY) == root
    assert reader.missing(root, Digest.of(b"absent")) == [Digest.of(b"absent")]
    assert reader.read(f"blobs/{root}") == blobs[-1]
    answer = reader.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest(digests=[message(root)]))
    assert answer.responses[0].data == blobs[-1]


def test_a_read_only_server_changes_nothing(reader):
    digest = Digest.of(b"new")
    cache = reader.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest()).cache_capabilities
    assert not cache.action_cache_update_capabilities.update_enabled
    assert not reader.references.Status(StatusRequest()).allow_updates
    assert refusal(reader.cas.BatchUpdateBlobs, reapi.BatchUpdateBlobsRequest()) is CODE.PERMISSION_DENIED
    assert refusal(reader.update, EMPTY, KEY) is CODE.PERMISSION_DENIED
    whole = WriteRequest(resource_name=upload_name(digest), data=b"new", finish_write=True)
    assert refusal(reader.write, whole) is CODE.PERMISSION_DENIED
    assert reader.missing(digest) == [digest]


# -- accounting (I5) -----------------------------------------------------------------------------------


def test_everything_stored_is_accounted(services):
    with serving(services) as peer:
        root, blobs = small_tree()
        peer.upload(*blobs, os.urandom(300_000))
        peer.upload(*blobs)
        peer.update(root, KEY, "demo/el/bbbb")
        data = os.urandom(2_000_000)
        name = upload_name(Digest.of(data))
        assert peer.write(WriteRequest(resource_name=name, data=data, finish_write=True)) == len(data)
        forged = WriteRequest(resource_name=upload_name(Digest.of(b"x")), data=b"y", finish_write=True)
        assert refusal(peer.write, forged) is CODE.FAILED_PRECONDITION
        usage = services.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= used_bytes(services.volume)
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (used_bytes(services.volume), 0)
    assert operations(services) == []


def test_what_is_uploaded_becomes_used_while_its_operation_goes_on(services, monkeypatch):
    monkeypatch.setattr(rolling, "TURN_S", 0.05)
    usage = services.coordination.usage
    with serving(services) as peer:
        peer.upload(os.urandom(300_000))
        operation, _ = staged(services)
        wanted = used_bytes(services.volume)
        settled(lambda: usage.snapshot().used_bytes == wanted)
        assert staged(services)[0] == operation
    assert (usage.snapshot().used_bytes, usage.snapshot().reserved_bytes) == (wanted, 0)


def test_what_does_not_fit_into_the_quota_is_refused_and_what_fits_is_taken(tmp_path, valkey):
    services = open_services(tmp_path, valkey.url, quota="4M")
    try:
        with serving(services) as peer:
            large = Digest(Digest.of(b"large").hash, 5 * 1024 * 1024)
            begun = WriteRequest(resource_name=upload_name(large), data=b"large")
            assert refusal(peer.write, begun) is CODE.RESOURCE_EXHAUSTED
            peer.upload(b"small")
    finally:
        services.close()


def test_each_entry_of_a_batch_that_does_not_fit_is_told_that_the_server_is_full(
    tmp_path, valkey, monkeypatch
):
    monkeypatch.setattr(rolling, "ROOM_WAIT_S", 0.1)
    services = open_services(tmp_path, valkey.url, quota="4M")
    blobs = [os.urandom(300_000) for _ in range(15)]
    try:
        with serving(services) as peer:
            codes = []
            for start in range(0, len(blobs), 3):
                batch = [entry(Digest.of(blob), blob) for blob in blobs[start : start + 3]]
                answer = peer.cas.BatchUpdateBlobs(reapi.BatchUpdateBlobsRequest(requests=batch))
                codes += [found.status.code for found in answer.responses]
            stored = codes.count(0)
            assert codes == [0] * stored + [CODE.RESOURCE_EXHAUSTED.value[0]] * (15 - stored)
            assert 10 <= stored <= 13
            assert peer.missing(*map(Digest.of, blobs)) == list(map(Digest.of, blobs[stored:]))
            again = reapi.BatchUpdateBlobsRequest(requests=[entry(Digest.of(blobs[0]), blobs[0])])
            assert peer.cas.BatchUpdateBlobs(again).responses[0].status.code == 0
            assert refusal(peer.update, Digest.of(blobs[0]), KEY) is not CODE.OK
        usage = services.coordination.usage.snapshot()
        assert usage.used_bytes == used_bytes(services.volume) <= 4 * 1024 * 1024
    finally:
        services.close()


@pytest.mark.parametrize("name", ["main", "a/b/c", "ünïcode"])
def test_an_instance_name_changes_nothing(peer, name):
    digest = Digest.of(b"content")
    update = reapi.BatchUpdateBlobsRequest(instance_name=name, requests=[entry(digest, b"content")])
    assert peer.cas.BatchUpdateBlobs(update).responses[0].status.code == 0
    find = reapi.FindMissingBlobsRequest(instance_name=name, blob_digests=[message(digest)])
    assert not peer.cas.FindMissingBlobs(find).missing_blob_digests
    asked = reapi.BatchReadBlobsRequest(instance_name=name, digests=[message(digest)])
    assert peer.cas.BatchReadBlobs(asked).responses[0].data == b"content"
    assert peer.read(f"{name}/blobs/{digest}") == peer.read(f"blobs/{digest}") == b"content"


def test_what_was_uploaded_or_found_survives_cleanups_for_a_grace_also_after_the_server(services, tmp_path):
    def clean_a_tick_later():
        probe, used_ns = tmp_path / "probe", os.stat(path).st_atime_ns
        settled(lambda: probe.write_bytes(b"now") and probe.stat().st_mtime_ns > used_ns)
        services.cleanup.clean(target_bytes=0, dry_run=False, context=quiet())

    with serving(services) as peer:
        (digest,) = peer.upload(b"not named yet")
        path = services.layout.object(digest.hash)
        clean_a_tick_later()
        make_old(path)
        assert peer.missing(digest) == []
        clean_a_tick_later()
        assert peer.read(f"blobs/{digest}") == b"not named yet"
    clean_a_tick_later()
    assert os.path.exists(path)
    promise, _journal = sorted(os.listdir(services.layout.staging))
    os.utime(f"{services.layout.staging}/{promise}", (0, 0))
    clean_a_tick_later()
    assert not os.path.exists(path)
    assert os.listdir(services.layout.staging) == []


# -- what may happen while it runs ---------------------------------------------------------------------


def test_the_server_goes_on_after_redis_forgot_everything(peer, valkey):
    (before,) = peer.upload(b"before")
    with valkey.client() as client:
        client.flushall()
    (after,) = peer.upload(b"after")
    root, blobs = small_tree()
    peer.upload(*blobs)
    peer.update(root, KEY)
    assert peer.resolve(KEY) == root
    assert peer.missing(before, after) == []


def test_the_server_goes_on_after_its_operation_was_fenced(services, peer):
    peer.upload(b"before")
    folder, _ = staged(services)
    os.rename(services.layout.operation(folder), services.layout.trash("fence"))
    peer.upload(b"after")
    assert staged(services)[0] != folder


def test_an_upload_under_a_fenced_operation_is_aborted_and_may_be_repeated(peer, services):
    data = b"0123456789"
    digest = Digest.of(data)

    def halves():
        yield WriteRequest(resource_name=upload_name(digest), data=data[:5])
        settled(lambda: staged(services)[1])
        os.rename(services.layout.operation(staged(services)[0]), services.layout.trash("fence"))
        yield WriteRequest(write_offset=5, data=data[5:], finish_write=True)

    assert refusal(peer.bytestream.Write, halves()) is CODE.ABORTED
    assert not os.path.exists(services.layout.object(digest.hash))
    assert peer.write(WriteRequest(resource_name=upload_name(digest), data=data, finish_write=True)) == 10


def test_an_upload_whose_client_goes_away_leaves_nothing_and_is_no_bug(peer, services, caplog):
    going = threading.Event()

    def half():
        yield WriteRequest(resource_name=upload_name(Digest.of(b"0123456789")), data=b"01234")
        going.wait()

    call = peer.bytestream.Write.future(half())
    settled(lambda: staged(services)[1])
    call.cancel()
    settled(lambda: not staged(services)[1])
    going.set()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_bug_in_a_handler_is_told_as_internal_and_logged(caplog):
    def broken(_request, _context):
        raise KeyError("a secret")

    handler = grpc.unary_unary_rpc_method_handler(answering(broken))
    server = grpc.server(
        ThreadPoolExecutor(1), handlers=[grpc.method_handlers_generic_handler("test", {"Call": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/test/Call")(b"")
    server.stop(0).wait()
    assert refused.value.code() is CODE.INTERNAL
    assert "secret" not in refused.value.details()
    assert "KeyError" in caplog.text


def test_stopping_lets_running_calls_end(services):
    running = serve(services, listen="127.0.0.1:0")
    peer = Peer(running.address)
    data = os.urandom(2_000_000)
    digest = Digest.of(data)
    with services.desk.writer("test", "seed", quiet()) as operation:
        operation.blobs.write_stream(digest, [data])
    answers = peer.bytestream.Read(ReadRequest(resource_name=f"blobs/{digest}"))
    first = next(answers).data
    stopping = threading.Thread(target=running.stop, kwargs={"grace_s": 30})
    stopping.start()
    assert first + b"".join(answer.data for answer in answers) == data
    stopping.join()
    peer.channel.close()


def test_a_call_that_waits_for_room_does_not_hold_up_the_end(tmp_path, valkey, monkeypatch):
    """Its thread would be waited for when the process ends."""
    monkeypatch.setattr(rolling, "ROOM_WAIT_S", 3600.0)
    services = open_services(tmp_path, valkey.url, quota="8M")
    others, asked = set(threading.enumerate()), threading.Event()
    make = services.desk.room.make

    def made(size_bytes, **options):
        asked.set()
        make(size_bytes, **options)

    monkeypatch.setattr(services.desk.room, "make", made)
    data = os.urandom(1_000_000)
    with (
        closing(services),
        services.desk.writer("held", "everything", quiet()) as operation,
        ThreadPoolExecutor(1) as pool,
    ):
        operation.reserve(services.space.limits().quota_bytes - services.space.used_bytes() - 65_536)
        with serving(services) as peer:
            waiting = pool.submit(peer.upload, data)
            assert asked.wait(20)
        assert waiting.exception() is not None
        settled(lambda: not {one for one in threading.enumerate() if one.name[:5] == "serve"} - others)
        assert operations(services) == [operation.id]


@pytest.mark.parametrize(
    ("call", "request_of_many"),
    [
        ("FindMissingBlobs", reapi.FindMissingBlobsRequest(blob_digests=[reapi.Digest()] * 65_537)),
        ("BatchReadBlobs", reapi.BatchReadBlobsRequest(digests=[reapi.Digest()] * 65_537)),
        (
            "BatchUpdateBlobs",
            reapi.BatchUpdateBlobsRequest(requests=[reapi.BatchUpdateBlobsRequest.Request()] * 65_537),
        ),
    ],
    ids=["find", "read", "update"],
)
def test_more_entries_than_digests_fit_into_a_message_are_refused_by_their_number(
    peer, call, request_of_many
):
    with pytest.raises(grpc.RpcError) as refused:
        getattr(peer.cas, call)(request_of_many)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "65537 entries" in refused.value.details()


@pytest.mark.parametrize(
    "listen", ["", "here", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", "::1:80", ":80"]
)
def test_an_address_that_is_none_is_a_configuration_error(services, listen):
    with pytest.raises(ConfigInvalid):
        serve(services, listen=listen)


def test_a_port_that_is_taken_is_a_configuration_error(services):
    running = serve(services, listen="127.0.0.1:0")
    try:
        with pytest.raises(ConfigInvalid):
            serve(services, listen=running.address)
    finally:
        running.stop(grace_s=0)
