"""The ActionCache of one server, by plain generated stubs, and the actions that stand for refs."""

from harness.assets import plain
from harness.serving import message

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.remote_execution_pb2_grpc import ActionCacheStub
from worker.names import action_key
from worker.store.refs import Refs


class Actions:
    """The calls of a peer at the ActionCache of its server."""

    def __init__(self, peer):
        self._stub = ActionCacheStub(peer.channel)

    def get(self, action):
        return self._stub.GetActionResult(reapi.GetActionResultRequest(action_digest=message(action)))

    def root(self, action):
        """The root of the one directory in the result."""
        (output,) = self.get(action).output_directories
        return plain(output.root_directory_digest)

    def update(self, action, result):
        request = reapi.UpdateActionResultRequest(action_digest=message(action), action_result=result)
        return self._stub.UpdateActionResult(request)


def key_of(ref):
    """The bytes whose digest is the action that stands for a ref."""
    return action_key(Ref.parse(ref))


def action_of(ref):
    return Digest.of(key_of(ref))


def shaped(tree, root):
    """The result that stands for a ref."""
    return reapi.ActionResult(
        output_directories=[
            reapi.OutputDirectory(tree_digest=message(tree), root_directory_digest=message(root))
        ]
    )


def records(services):
    return {str(entry.ref): entry.record for entry in Refs(services.volume).listing()}
