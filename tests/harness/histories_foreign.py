"""Clients from outside in a history: they know gRPC, hold no lease, and believe what the server answers.

What a server has taken in or said to have stays for `upload-grace`, counted here from before the call,
whatever becomes of that server.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter

import grpc
from harness.histories_clients import Actor
from harness.histories_fleet import GRACE_S
from harness.serving import entry, message, upload_name

from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as stream
from worker._protos import reference_storage_pb2 as reference
from worker._protos import remote_asset_pb2 as asset
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.bytestream_pb2_grpc import ByteStreamStub
from worker._protos.reference_storage_pb2_grpc import ReferenceStorageStub
from worker._protos.remote_asset_pb2_grpc import FetchStub, PushStub
from worker._protos.remote_execution_pb2_grpc import ContentAddressableStorageStub

FOREIGNERS = 2
CALL_S = 30.0
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
#: Wrong whatever happens to the fleet.
_NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNIMPLEMENTED}


class Foreigner(Actor):
    def __init__(self, name, fleet, journal, *, seed, trees):
        super().__init__(name, fleet, journal, seed=seed)
        self.trees = trees
        channel = grpc.insecure_channel(fleet.address, options=_OPTIONS)
        self.cas = ContentAddressableStorageStub(channel)
        self.bytestream = ByteStreamStub(channel)
        self.references = ReferenceStorageStub(channel)
        self.fetch, self.push = FetchStub(channel), PushStub(channel)
        self.promises = []  # (until, digest, how)
        self.bound = []  # (index, tree, key), the last few

    def turn(self):
        try:
            piece = self.chance.choice([self.unnamed, self.streamed, self.bind, self.bind, self.look_up])
            piece()
        except grpc.RpcError as refused:
            code = refused.code()
            self.journal.note("call", verb=self.verb, outcome=code.name, error=refused.details())
            if code in _NEVER:
                self.journal.note(
                    "violation", kind="call", text=f"{self.verb}: {code.name} {refused.details()}"
                )
        self.check()
        self.over.wait(self.chance.uniform(0.1, 0.6))

    def call(self, verb, method, request):
        """(the answer, when it was asked for)."""
        self.verb = verb
        began = time.monotonic()
        answer = method(request, timeout=CALL_S)
        if verb not in {"FindMissingBlobs", "BatchUpdateBlobs"}:
            self.journal.note("call", verb=verb, outcome="OK")
        return answer, began

    def promised(self, began, digests, how):
        until = began + GRACE_S
        self.promises += [(until, digest, how) for digest in digests]

    def check(self):
        """A few of what was promised a moment ago are there."""
        now = time.monotonic()
        self.promises = [one for one in self.promises if one[0] > now]
        for until, digest, how in self.chance.sample(self.promises, min(12, len(self.promises))):
            trouble = self.fleet.reader.blob_trouble(digest)
            left = until - time.monotonic()
            if trouble and left > 0:
                self.promises = [one for one in self.promises if one[1] != digest]
                text = f"{how} {GRACE_S - left:.2f} s ago: {trouble}"
                self.journal.note("violation", kind="upload lost", ref=str(digest), text=text)
        self.journal.note("grace checked", promises=len(self.promises))

    # -- what they do ---------------------------------------------------------------------------------

    def upload(self, blobs):
        """FindMissing, then what is missing; False when one was refused."""
        digests = [Digest.of(blob) for blob in blobs]
        request = reapi.FindMissingBlobsRequest(blob_digests=map(message, digests))
        answer, began = self.call("FindMissingBlobs", self.cas.FindMissingBlobs, request)
        missing = {found.hash for found in answer.missing_blob_digests}
        self.promised(began, [digest for digest in digests if digest.hash not in missing], "said to be there")
        self.journal.note("call", verb="FindMissingBlobs", outcome="OK")
        lacking = [(d, blob) for d, blob in zip(digests, blobs, strict=True) if d.hash in missing]
        if not lacking:
            return True
        request = reapi.BatchUpdateBlobsRequest(requests=[entry(d, blob) for d, blob in lacking])
        answer, began = self.call("BatchUpdateBlobs", self.cas.BatchUpdateBlobs, request)
        codes = Counter(one.status.code for one in answer.responses)
        taken = {one.digest.hash for one in answer.responses if one.status.code == 0}
        self.promised(began, [d for d, _blob in lacking if d.hash in taken], "uploaded")
        for code in codes:
            name = next(status.name for status in grpc.StatusCode if status.value[0] == code)
            self.journal.note("call", verb="BatchUpdateBlobs", outcome=name)
        return set(codes) == {0}

    def unnamed(self):
        blobs = [self.chance.randbytes(self.chance.randrange(1, 9000)) for _ in range(4)]
        self.upload(blobs)

    def streamed(self):
        """A large blob in pieces; sometimes it stays behind half-way."""
        data = self.chance.randbytes(150_000)
        digest, pieces = Digest.of(data), range(0, len(data), 32_768)
        name, half = upload_name(digest), self.chance.random() < 0.3

        def requests():
            for at in pieces:
                if half and at > 70_000:
                    return
                piece = data[at : at + 32_768]
                finish = at + len(piece) == len(data)
                yield stream.WriteRequest(
                    resource_name=name, write_offset=at, data=piece, finish_write=finish
                )

        self.verb = "Write"
        answer, began = self.call("Write", self.bytestream.Write, requests())
        if answer.committed_size == len(data):
            self.promised(began, [digest], "written")

    def bind(self):
        """A tree and a name for it: children first, as clients do. A ref may go like any other."""
        tree = self.chance.choice(self.trees.uploaded)
        if not self.upload(list(tree.blobs.values())):
            return
        key, root = f"foreign/{tree.name}/{self.chance.randrange(3)}", message(tree.root)
        if self.chance.random() < 0.5:
            request = reference.UpdateReferenceRequest(keys=[key], digest=root)
            self.call("UpdateReference", self.references.UpdateReference, request)
            self.bound.append(("GetReference", tree, key))
        else:
            request = asset.PushDirectoryRequest(uris=[_uri(key)], root_directory_digest=root)
            self.call("PushDirectory", self.push.PushDirectory, request)
            self.bound.append(("FetchDirectory", tree, key))
        del self.bound[:-3]

    def look_up(self):
        """What a name means is whole, and stays so for a grace."""
        tree = self.chance.choice(self.trees.uploaded)
        key = f"foreign/{tree.name}/{self.chance.randrange(3)}"
        index = self.chance.choice(["GetReference", "FetchDirectory"])
        if self.bound and self.chance.random() < 0.7:
            index, tree, key = self.chance.choice(self.bound)
        if index == "GetReference":
            request = reference.GetReferenceRequest(key=key)
            answer, began = self.call("GetReference", self.references.GetReference, request)
            found = answer.digest
        else:
            request = asset.FetchDirectoryRequest(uris=[_uri(key)])
            answer, began = self.call("FetchDirectory", self.fetch.FetchDirectory, request)
            found = answer.root_directory_digest
        if found.hash != tree.root.hash:
            self.journal.note("violation", kind="another root", ref=key, text=found.hash)
        self.promised(began, [Digest.of(blob) for blob in tree.blobs.values()], f"found by {key}")


def _uri(key):
    return f"urn:example:{uuid.uuid5(uuid.NAMESPACE_URL, key)}"
