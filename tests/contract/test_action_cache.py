"""What is the ActionCache's own: the fixed wire form of a ref (wire-protocols section 6)."""

import pytest
from harness.lying_server import LyingServer
from harness.remotes import remotes

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest, NoSpace
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import ARTIFACT, Published

REF, WEAK = Ref.parse("demo/el/aaaa"), Ref.parse("demo/el/bbbb")
#: The vector of the specification for demo/el/aaaa.
ACTION = Digest("ebd44638a7a2c27561ebf18a9b4c9c4ef2e8b631b5d7ab091deba7030ce3b5d9", 34)
ROOT_MESSAGE = b"\x0a\x00"
ROOT = Digest.of(ROOT_MESSAGE)
TREE = reapi.EncodedTree(root=ROOT_MESSAGE).SerializeToString()


@pytest.fixture
def server():
    with LyingServer(indexes=("action-cache",)) as running:
        yield running


@pytest.fixture
def index(server):
    with remotes() as make:
        yield make(server.url, push=True).index


def sent(digest):
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def ours():
    output = reapi.OutputDirectory(tree_digest=sent(Digest.of(TREE)), root_directory_digest=sent(ROOT))
    return reapi.ActionResult(output_directories=[output])


def test_a_ref_is_the_action_of_the_vector_with_one_output_directory(server, index):
    index.publish([REF], Published((ROOT,)), tree=lambda: TREE)
    assert server.actions == {ACTION.hash: ours()}


def test_the_tree_and_the_key_of_each_name_are_there_before_the_result(server, index):
    """A server that checks completeness reads the Tree; one that wants the name of an action, its key."""
    index.publish([REF, WEAK], Published((ROOT,)), tree=lambda: TREE)
    assert server.blobs[Digest.of(TREE).hash] == TREE
    assert server.blobs[ACTION.hash] == b"caskeeper:artifact:v1:demo/el/aaaa"
    assert b"caskeeper:artifact:v1:demo/el/bbbb" in server.blobs.values()
    methods = [name for name, _request in server.calls]
    updates = [place for place, name in enumerate(methods) if name == "UpdateActionResult"]
    assert len(updates) == 2
    assert (
        max(place for place, name in enumerate(methods) if name in {"BatchUpdateBlobs", "Write"}) < updates[0]
    )


def test_what_is_there_is_not_sent_again(server, index):
    index.publish([REF], Published((ROOT,)), tree=lambda: TREE)
    before = server.count("Write") + server.count("BatchUpdateBlobs")
    index.publish([REF], Published((ROOT,)), tree=lambda: TREE)
    assert server.count("Write") + server.count("BatchUpdateBlobs") == before


def test_nothing_is_named_when_the_tree_cannot_be_sent(server, index):
    from harness.remotes import Code

    assert index.kinds
    server.answers["Write"] = Code.RESOURCE_EXHAUSTED
    with pytest.raises(NoSpace):
        index.publish([REF], Published((ROOT,)), tree=lambda: TREE)
    assert not server.actions


def _failed(result):
    result.exit_code = 1


def _two(result):
    result.output_directories.add().CopyFrom(result.output_directories[0])


def _none(result):
    del result.output_directories[:]


def _with_path(result):
    result.output_directories[0].path = "out"


def _with_file(result):
    result.output_files.add(path="x", digest=sent(ROOT))


def _without_root(result):
    result.output_directories[0].ClearField("root_directory_digest")


def _without_tree(result):
    result.output_directories[0].ClearField("tree_digest")


@pytest.mark.parametrize(
    "change", [_failed, _two, _none, _with_path, _with_file, _without_root, _without_tree]
)
def test_a_result_of_another_shape_is_a_miss(server, index, change):
    result = ours()
    server.actions[ACTION.hash] = result
    assert index.resolve(REF) == Published((ROOT,))
    change(result)
    assert index.resolve(REF) is None


def test_an_artifact_of_buildstream_2_is_refused(server, index):
    with pytest.raises(InvalidRequest, match="only a directory tree"):
        index.publish([REF], Published((ROOT,), ARTIFACT), tree=lambda: TREE)
    assert not server.actions
