"""The Remote Asset API of one server, by plain generated stubs, and an artifact of BuildStream 2 to push."""

from harness.serving import message, small_tree

from caskeeper.digest import Digest
from worker._protos import artifact_pb2
from worker._protos import remote_asset_pb2 as wire
from worker._protos.remote_asset_pb2_grpc import FetchStub, PushStub
from worker.directory import Directory, FileEntry, serialise

DIRECTORY_URN = "urn:fdc:buildstream.build:2020:v1:"
ARTIFACT_URN = "urn:fdc:buildstream.build:2020:artifact:"


class Assets:
    """The calls of a peer at the index of its server."""

    def __init__(self, peer):
        self.fetch = FetchStub(peer.channel)
        self.push = PushStub(peer.channel)

    def blob(self, *uris, **options):
        """The digest of the blob that one of ``uris`` names."""
        return plain(self.fetch.FetchBlob(wire.FetchBlobRequest(uris=uris, **options)).blob_digest)

    def directory(self, *uris, **options):
        """The digest of the directory that one of ``uris`` names."""
        answer = self.fetch.FetchDirectory(wire.FetchDirectoryRequest(uris=uris, **options))
        return plain(answer.root_directory_digest)

    def push_blob(self, digest, *uris, **options):
        self.push.PushBlob(wire.PushBlobRequest(uris=uris, blob_digest=message(digest), **options))

    def push_directory(self, digest, *uris, **options):
        request = wire.PushDirectoryRequest(uris=uris, root_directory_digest=message(digest), **options)
        self.push.PushDirectory(request)


def plain(digest):
    return Digest(digest.hash, digest.size_bytes)


def qualifiers(**pairs):
    return [wire.Qualifier(name=name, value=value) for name, value in pairs.items()]


def small_artifact():
    """The digest of an Artifact message, and its blobs by what they are for: the message last.

    Files and buildtree have a file in common.
    """
    root, files = small_tree()
    shared, own = files[0], b"object code\n"
    buildtree = _folder(hello=shared, made=own)
    parts = {
        "files": files,
        "buildtree": [own, buildtree],
        "meta": [b"variables: {}\n"],
        "log": [b"it was built\n"],
    }
    (meta,), (log,) = parts["meta"], parts["log"]
    artifact = artifact_pb2.Artifact(
        version=2,
        build_success=True,
        strong_key="aaaa",
        weak_key="bbbb",
        files=message(root),
        buildtree=message(Digest.of(buildtree)),
        low_diversity_meta=message(Digest.of(meta)),
        high_diversity_meta=message(Digest.of(meta)),
        logs=[artifact_pb2.Artifact.LogFile(name="build.log", digest=message(Digest.of(log)))],
    ).SerializeToString()
    return Digest.of(artifact), {**parts, "message": [artifact]}


def _folder(**files):
    return serialise(Directory(files=tuple(FileEntry(name, Digest.of(data)) for name, data in files.items())))
