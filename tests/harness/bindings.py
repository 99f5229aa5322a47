"""What a server's indexes do with a volume, without a network: for tests of processes that die."""

from harness.actions import shaped
from harness.assets import ARTIFACT_URN, small_artifact
from harness.serving import message, small_tree

from caskeeper.digest import Digest
from worker._protos import remote_asset_pb2 as assets
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import quiet
from worker.server.action_cache import ActionCache
from worker.server.published import PublishedRefs
from worker.server.remote_asset import RemoteAsset
from worker.store.objects import Objects


class Refused(Exception):
    """The status and the sentence with which a server ended a call."""


class Caller:
    """Stands where gRPC's context of a call stands: a client that waits."""

    def is_active(self):
        return True

    def abort(self, code, sentence):
        raise Refused(code, sentence)


def refs_of(services):
    return PublishedRefs(services, Objects(services.volume), rolling=None)


def store(*blobs):
    """A request that stores blobs which nothing names yet."""

    def run(services):
        with services.desk.writer("upload", "here", quiet()) as operation:
            operation.blobs.write_batch([(Digest.of(blob), blob) for blob in blobs])

    return run


def upload_artifact(*, without=()):
    """A request that stores a small artifact of BuildStream 2, but for these parts of it."""
    _digest, parts = small_artifact()
    return store(*(blob for name, blobs in parts.items() if name not in without for blob in blobs))


def bind_artifact(services):
    """Push the small artifact under two names."""
    digest, _parts = small_artifact()
    urns = [f"{ARTIFACT_URN}demo/hello/{key}" for key in ("k1", "k2")]
    request = assets.PushBlobRequest(uris=urns, blob_digest=message(digest))
    RemoteAsset(refs_of(services), read_only=False).push_blob(request, Caller())


def upload_result(services):
    """Store what a result names: a Tree and its files, and no Directory message."""
    _root, blobs = small_tree()
    store(*blobs[:2], _tree(blobs))(services)


def bind_result(services):
    """Push a result of an action that stands for no ref."""
    root, blobs = small_tree()
    request = reapi.UpdateActionResultRequest(
        action_digest=message(Digest.of(b"an Action message")),
        action_result=shaped(Digest.of(_tree(blobs)), root),
    )
    ActionCache(refs_of(services), read_only=False).update(request, Caller())


def _tree(blobs):
    *_, folder, root = blobs
    return reapi.EncodedTree(root=root, children=[folder]).SerializeToString()
