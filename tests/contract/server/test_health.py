"""grpc.health.v1 and reflection, as an orchestrator and grpcurl meet them."""

import os
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2 as wire
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2 as reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from harness.serving import refusal, serving, settled

from worker.server import health, streams

CODE = grpc.StatusCode
SERVING, NOT_SERVING = wire.HealthCheckResponse.SERVING, wire.HealthCheckResponse.NOT_SERVING
CAS = "build.bazel.remote.execution.v2.ContentAddressableStorage"


@pytest.fixture
def fresh(monkeypatch):
    """Every answer is looked for."""
    monkeypatch.setattr(health, "FRESH_S", 0.01)


def check(peer, service=""):
    return HealthStub(peer.channel).Check(wire.HealthCheckRequest(service=service)).status


def test_the_server_and_each_of_its_services_are_serving_and_others_are_not_known(peer, reader):
    for service in ("", CAS, "google.bytestream.ByteStream"):
        assert check(peer, service) == check(reader, service) == SERVING
    assert refusal(check, peer, "no.such.Service") is CODE.NOT_FOUND


def test_without_its_volume_the_server_is_not_serving_until_it_is_back(fresh, peer, services):
    root = services.layout.root
    os.rename(root, f"{root}.away")
    settled(lambda: check(peer) == NOT_SERVING)
    os.mkdir(root)  # the folder of a file system that is not mounted
    assert check(peer, CAS) == NOT_SERVING
    os.rmdir(root)
    os.rename(f"{root}.away", root)
    settled(lambda: check(peer) == SERVING)


def test_without_redis_the_server_is_not_serving(fresh, services, peer, monkeypatch):
    assert check(peer) == SERVING
    monkeypatch.setattr(services.coordination._connection, "command", unreachable)
    settled(lambda: check(peer) == NOT_SERVING)


def unreachable(*_words):
    from caskeeper.errors import CoordinatorUnavailable

    raise CoordinatorUnavailable("down")


def test_a_watcher_is_told_of_every_change(fresh, peer, services):
    call = HealthStub(peer.channel).Watch(wire.HealthCheckRequest())
    assert next(call).status == SERVING
    os.rename(services.layout.format, f"{services.layout.format}.away")
    assert next(call).status == NOT_SERVING
    os.rename(f"{services.layout.format}.away", services.layout.format)
    assert next(call).status == SERVING
    call.cancel()
    unknown = HealthStub(peer.channel).Watch(wire.HealthCheckRequest(service="no.such.Service"))
    assert next(unknown).status == wire.HealthCheckResponse.SERVICE_UNKNOWN
    unknown.cancel()


def test_watchers_take_no_more_than_a_few_threads(fresh, peer):
    calls = [HealthStub(peer.channel).Watch(wire.HealthCheckRequest()) for _ in range(health.WATCHERS)]
    assert [next(call).status for call in calls] == [SERVING] * health.WATCHERS
    more = HealthStub(peer.channel).Watch(wire.HealthCheckRequest())
    assert refusal(next, more) is CODE.ABORTED
    calls[0].cancel()
    settled(lambda: _watches(peer))
    for call in calls:
        call.cancel()


def _watches(peer):
    call = HealthStub(peer.channel).Watch(wire.HealthCheckRequest())
    try:
        return next(call).status == SERVING
    except grpc.RpcError:
        return False
    finally:
        call.cancel()


def ask(peer, *requests):
    return list(ServerReflectionStub(peer.channel).ServerReflectionInfo(iter(requests)))


def test_reflection_tells_every_service_and_what_its_messages_are(peer):
    listing, file = ask(
        peer,
        reflection.ServerReflectionRequest(list_services=""),
        reflection.ServerReflectionRequest(file_containing_symbol=CAS),
    )
    names = {service.name for service in listing.list_services_response.service}
    assert {CAS, "google.bytestream.ByteStream", "grpc.health.v1.Health", health.REFLECTION} <= names
    assert any(
        b"BatchUpdateBlobsRequest" in proto for proto in file.file_descriptor_response.file_descriptor_proto
    )
    for name in names:
        (found,) = ask(peer, reflection.ServerReflectionRequest(file_containing_symbol=name))
        assert found.HasField("file_descriptor_response")


def test_a_reflection_that_asks_nothing_is_ended(services, monkeypatch):
    monkeypatch.setattr(streams, "SILENCE_S", 0.2)
    stop = threading.Event()

    def silent():
        stop.wait()
        yield from ()

    with serving(services) as peer:
        call = ServerReflectionStub(peer.channel).ServerReflectionInfo(silent())
        assert refusal(next, call) is CODE.CANCELLED
        stop.set()
