"""A real server for tests: a volume of its own, loopback port 0, plain generated stubs."""

import os
import time
import uuid
from contextlib import contextmanager

import grpc
import pytest

from caskeeper.config import QuotaExpression, Settings
from caskeeper.config.settings import CacheSettings, LeaseSettings
from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as stream
from worker._protos import reference_storage_pb2 as reference
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2_grpc import ByteStreamStub
from worker._protos.reference_storage_pb2_grpc import ReferenceStorageStub
from worker._protos.remote_execution_pb2_grpc import CapabilitiesStub, ContentAddressableStorageStub
from worker.server.app import serve
from worker.store.journal import PREFIX as JOURNAL
from worker.store.promises import PREFIX
from worker.store.staging import RESERVED
from worker.wiring import build


def open_services(tmp_path, url, *, quota="infinity", grace_s=600.0):
    """The services of a new volume below ``tmp_path``; ``url`` is an empty database."""
    return build(
        Settings(
            cachedir=f"{tmp_path}/served",
            cache=CacheSettings(
                quota=QuotaExpression(quota),
                headroom_bytes=0,
                reserved_disk_space=QuotaExpression("0"),
                modern=True,
            ),
            leases=LeaseSettings(upload_grace_s=grace_s, clock_margin_s=0.0),
        ),
        redis_url=url,
    )


class Peer:
    """Plain generated stubs talking to one server, and the calls that tests make most."""

    def __init__(self, address):
        # A window that grew with the bandwidth would take in whole blobs that the test does not read.
        self.channel = grpc.insecure_channel(address, options=[("grpc.http2.bdp_probe", 0)])
        self.cas = ContentAddressableStorageStub(self.channel)
        self.bytestream = ByteStreamStub(self.channel)
        self.capabilities = CapabilitiesStub(self.channel)
        self.references = ReferenceStorageStub(self.channel)

    def upload(self, *blobs):
        """Small blobs in one batch; their digests."""
        answer = self.cas.BatchUpdateBlobs(
            reapi.BatchUpdateBlobsRequest(requests=[entry(Digest.of(blob), blob) for blob in blobs])
        )
        assert [found.status.code for found in answer.responses] == [0] * len(blobs)
        return [Digest.of(blob) for blob in blobs]

    def missing(self, *digests):
        request = reapi.FindMissingBlobsRequest(blob_digests=[message(digest) for digest in digests])
        answer = self.cas.FindMissingBlobs(request)
        return [Digest(digest.hash, digest.size_bytes) for digest in answer.missing_blob_digests]

    def read(self, name, *, offset=0, limit=0):
        request = stream.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join(answer.data for answer in self.bytestream.Read(request))

    def write(self, *requests):
        return self.bytestream.Write(iter(requests)).committed_size

    def update(self, root, *keys):
        request = reference.UpdateReferenceRequest(keys=keys, digest=message(root))
        return self.references.UpdateReference(request)

    def resolve(self, key, **options):
        found = self.references.GetReference(reference.GetReferenceRequest(key=key, **options)).digest
        return Digest(found.hash, found.size_bytes)


@contextmanager
def serving(services, *, read_only=False, **options):
    """A running server over ``services`` and a peer that talks to it."""
    server = serve(services, listen="127.0.0.1:0", read_only=read_only, **options)
    peer = Peer(server.address)
    try:
        yield peer
    finally:
        peer.channel.close()
        server.stop(grace_s=0)


def message(digest):
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def entry(digest, data, **options):
    return reapi.BatchUpdateBlobsRequest.Request(digest=message(digest), data=data, **options)


def upload_name(digest, *, instance=""):
    return f"{instance}uploads/{uuid.uuid4()}/blobs/{digest}"


def refusal(call, *arguments, **options):
    """The status with which ``call`` is refused."""
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments, **options)
    return refused.value.code()


def small_tree():
    """The root of a small tree, and all its blobs: two files, a folder's message, the root's."""
    files = [b"#!/bin/sh\necho hello\n", b"readme\n"]
    run, readme = (message(Digest.of(data)) for data in files)
    inner = reapi.Directory(files=[reapi.FileNode(name="hello", digest=run, is_executable=True)])
    folder = inner.SerializeToString()
    root = reapi.Directory(
        files=[reapi.FileNode(name="README", digest=readme)],
        directories=[reapi.DirectoryNode(name="bin", digest=message(Digest.of(folder)))],
        symlinks=[reapi.SymlinkNode(name="run", target="bin/hello")],
    ).SerializeToString()
    return Digest.of(root), [*files, folder, root]


def operations(services):
    """The operations' folders: what a server promised and took in stands beside them, in files."""
    beside = (PREFIX, JOURNAL)
    return [name for name in os.listdir(services.layout.staging) if not name.startswith(beside)]


def staged(services):
    """The server's one operation folder and what is staged in it; nothing before the first call."""
    folders = operations(services)
    if not folders:
        return None, []
    (folder,) = folders
    names = os.listdir(services.layout.operation(folder))
    return folder, [name for name in names if name not in ("start", RESERVED)]


def make_old(path):
    """As if nobody had used it for ages."""
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns))


def settled(condition):
    """Wait until it is so; what another thread does has no moment that could be named."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    assert condition()
