"""A real server for tests: a volume of its own, loopback port 0, plain stubs."""

import os
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from harness.volumes import bare_volume

from caskeeper.config import QuotaExpression, Settings
from caskeeper.config.settings import CacheSettings, LeaseSettings
from caskeeper.coordination import Coordination
from worker._protos.bytestream_pb2_grpc import ByteStreamStub
from worker._protos.reference_storage_pb2_grpc import ReferenceStorageStub
from worker._protos.remote_execution_pb2_grpc import CapabilitiesStub, ContentAddressableStorageStub
from worker.server.app import serve
from worker.services.cleanup import Cleanup
from worker.services.maintenance import Maintenance
from worker.services.operations import OperationDesk
from worker.services.recount import Recount
from worker.services.room import Room
from worker.services.space import Space
from worker.store.closures import Closures
from worker.store.format import new_format, publish_format, stage_format
from worker.store.objects import Objects
from worker.store.refs import Refs
from worker.store.volume import Volume


@dataclass
class Parts:
    """What the server needs of a process, wired by hand over one volume."""

    settings: Settings
    volume: Volume
    coordination: Coordination
    desk: OperationDesk
    cleanup: Cleanup

    def close(self):
        self.desk.close()
        self.coordination.close()


def wire(tmp_path, url, *, quota="infinity", grace_s=600.0):
    """The parts of a new volume below ``tmp_path``; ``url`` is an empty database."""
    volume = bare_volume(tmp_path)
    leases = LeaseSettings(upload_grace_s=grace_s)
    settings = Settings(
        cachedir=volume.layout.root,
        cache=CacheSettings(
            quota=QuotaExpression(quota),
            headroom_bytes=0,
            reserved_disk_space=QuotaExpression("0"),
            modern=True,
        ),
        leases=leases,
    )
    made = new_format(volume)
    stage_format(volume, made)
    coordination = Coordination.create(
        url, volume_id=made.volume_id, epoch=made.epoch, used_bytes=0, leases=leases
    )
    publish_format(volume, made)
    objects = Objects(volume)
    space = Space(settings, volume, coordination)
    maintenance = Maintenance(
        volume=volume,
        refs=Refs(volume),
        closures=Closures(volume),
        objects=objects,
        coordination=coordination,
    )
    cleanup = Cleanup(maintenance, space, Recount(maintenance))
    desk = OperationDesk(
        volume=volume,
        objects=objects,
        coordination=coordination,
        space=space,
        make_ready=maintenance.ensure_ready,
        make_room=Room(cleanup, space, clock_margin_s=0).make,
    )
    return Parts(settings, volume, coordination, desk, cleanup)


class Peer:
    """Plain generated stubs talking to one server."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.cas = ContentAddressableStorageStub(self.channel)
        self.bytestream = ByteStreamStub(self.channel)
        self.capabilities = CapabilitiesStub(self.channel)
        self.references = ReferenceStorageStub(self.channel)


@contextmanager
def serving(parts, *, read_only=False):
    """A running server over ``parts`` and a peer that talks to it."""
    server = serve(parts, listen="127.0.0.1:0", read_only=read_only)
    peer = Peer(server.address)
    try:
        yield peer
    finally:
        peer.channel.close()
        server.stop(grace_s=0)


def object_path(parts, digest):
    """Where the object lies."""
    return parts.volume.layout.object(digest.hash)


def age_ns(path):
    return os.stat(path).st_atime_ns
