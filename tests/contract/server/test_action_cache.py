"""Results of actions, and refs under the actions that stand for them (wire-protocols sections 3 and 6)."""

import os

import grpc
import pytest
from harness.actions import Actions, action_of, key_of, records, shaped
from harness.assets import Assets, plain, small_artifact
from harness.serving import make_old, message, refusal, serving, small_tree

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from worker._protos import ref_record_pb2
from worker._protos import remote_execution_pb2 as reapi
from worker.directory import MAX_TREE_BYTES
from worker.names import ARTIFACT_URN
from worker.server import published
from worker.server.budget import Budget
from worker.store.closures import Closures
from worker.tree import parse_tree

CODE = grpc.StatusCode
KEY = "demo/el/aaaa"
REF = Ref("demo", "el", "aaaa")
ACTION = action_of(KEY)
OTHER = Digest.of(b"an Action message, for all we know, of some length")


def tree_of(blobs):
    """The Tree message of a small tree, whose last two blobs are its folder's message and its root's."""
    *_, folder, root = blobs
    return reapi.EncodedTree(root=root, children=[folder]).SerializeToString()


@pytest.fixture
def ready(peer):
    """A small tree, all uploaded but for its Directory messages, which are in its Tree: root and Tree."""
    root, blobs = small_tree()
    peer.upload(*blobs[:2])
    (tree,) = peer.upload(tree_of(blobs))
    return root, tree


# -- the actions that stand for refs -----------------------------------------------------------------------


def test_the_action_of_a_ref_binds_the_ref_itself(peer, actions, services, ready):
    root, tree = ready
    assert peer.upload(key_of(KEY)) == [ACTION]
    actions.update(ACTION, shaped(tree, root))
    assert records(services).keys() == {KEY}
    assert peer.resolve(KEY) == actions.root(ACTION) == root
    peer.update(EMPTY, KEY)
    assert actions.root(ACTION) == EMPTY


def test_a_ref_that_came_another_way_is_found_by_its_action_with_tree_and_root(peer, actions):
    root, blobs = small_tree()
    peer.upload(*blobs)
    assert refusal(actions.get, ACTION) is CODE.NOT_FOUND
    peer.update(root, KEY)
    for _ in range(2):
        result = actions.get(ACTION)
        (output,) = result.output_directories
        assert (result.exit_code, output.path, plain(output.root_directory_digest)) == (0, "", root)
        tree = plain(output.tree_digest)
        found = parse_tree(peer.read(f"blobs/{tree}"), tree)
        assert (found.root, set(found.messages) - {EMPTY}) == (root, set(map(Digest.of, blobs[2:])))


def test_the_tree_of_a_ref_is_made_again_when_it_is_gone(peer, actions, services, ready):
    root, tree = ready
    peer.upload(key_of(KEY))
    actions.update(ACTION, shaped(tree, root))
    made = plain(actions.get(ACTION).output_directories[0].tree_digest)
    assert made == tree
    os.unlink(services.layout.object(made.hash))
    # The server's operation relied on it a moment ago, and nothing but a test takes it away meanwhile.
    assert peer.missing(made) == [made]
    assert plain(actions.get(ACTION).output_directories[0].tree_digest) == made
    assert peer.missing(made) == []


def test_the_empty_tree_has_a_tree_message_too(peer, actions):
    peer.update(EMPTY, KEY)
    tree = plain(actions.get(ACTION).output_directories[0].tree_digest)
    assert parse_tree(peer.read(f"blobs/{tree}"), tree).root == EMPTY


@pytest.mark.parametrize("left_out", range(3))
def test_a_ref_is_not_bound_while_content_is_missing(peer, actions, services, left_out):
    root, blobs = small_tree()
    contents = [*blobs[:2], tree_of(blobs)]
    peer.upload(*contents[:left_out], *contents[left_out + 1 :], key_of(KEY))
    with pytest.raises(grpc.RpcError) as refused:
        actions.update(ACTION, shaped(Digest.of(contents[2]), root))
    assert refused.value.code() is CODE.FAILED_PRECONDITION
    assert str(Digest.of(contents[left_out])) in refused.value.details()
    assert records(services) == {}


def test_a_tree_with_another_root_is_refused(peer, actions, ready):
    _root, tree = ready
    peer.upload(key_of(KEY))
    assert refusal(actions.update, ACTION, shaped(tree, EMPTY)) is CODE.INVALID_ARGUMENT


def test_the_action_of_a_ref_takes_no_result_of_another_shape(peer, actions):
    peer.upload(key_of(KEY))
    assert refusal(actions.update, ACTION, reapi.ActionResult(exit_code=1)) is CODE.INVALID_ARGUMENT
    assert refusal(actions.get, ACTION) is CODE.NOT_FOUND


def test_an_artifact_of_buildstream_2_is_no_result_of_an_action(peer, actions):
    digest, parts = small_artifact()
    for blobs in parts.values():
        peer.upload(*blobs)
    Assets(peer).push_blob(digest, f"{ARTIFACT_URN}{KEY}")
    assert refusal(actions.get, ACTION) is CODE.NOT_FOUND


def test_a_ref_that_is_gone_is_not_found_by_its_action(peer, actions, services):
    peer.update(EMPTY, KEY)
    assert actions.root(ACTION) == EMPTY
    os.unlink(services.layout.ref(REF))
    assert refusal(actions.get, ACTION) is CODE.NOT_FOUND


def test_a_ref_bound_without_the_bytes_of_its_action_is_found_where_the_ref_came_later(
    peer, actions, services, ready
):
    root, tree = ready
    actions.update(ACTION, shaped(tree, root))
    (name,) = records(services)
    assert name == f"action-cache/{ACTION.hash[:2]}/{ACTION.hash}-{ACTION.size_bytes}"
    assert actions.root(ACTION) == root
    peer.update(EMPTY, KEY)
    assert actions.root(ACTION) == EMPTY


# -- any other action --------------------------------------------------------------------------------------


def big_result(peer, *, without=()):
    """A result that names everything a result can, all but ``without`` uploaded; and its blobs by name."""
    root, blobs = small_tree()
    contents = dict(zip(("run", "readme"), blobs, strict=False))
    contents |= {"tree": tree_of(blobs), "file": b"object code", "stdout": b"hello", "stderr": b"oh"}
    peer.upload(*(blob for name, blob in contents.items() if name not in without))
    digests = {name: message(Digest.of(blob)) for name, blob in contents.items()}
    result = reapi.ActionResult(
        exit_code=3,
        output_files=[reapi.OutputFile(path="a/b.o", digest=digests["file"], is_executable=True)],
        output_directories=[
            reapi.OutputDirectory(
                path="out", tree_digest=digests["tree"], root_directory_digest=message(root)
            )
        ],
        output_symlinks=[reapi.OutputSymlink(path="link", target="../out")],
        stdout_digest=digests["stdout"],
        stderr_digest=digests["stderr"],
    )
    return result, {name: Digest.of(blob) for name, blob in contents.items()}


NAMED = ["run", "readme", "tree", "file", "stdout", "stderr"]


def test_a_result_comes_back_as_it_was_sent_and_keeps_all_it_names(peer, actions, services):
    result, named = big_result(peer)
    assert refusal(actions.get, OTHER) is CODE.NOT_FOUND
    assert actions.update(OTHER, result) == result
    assert actions.get(OTHER) == result
    (record,) = records(services).values()
    assert record.kind == ref_record_pb2.ACTION_RESULT
    assert set(Closures(services.volume).read(record.root.hash, "whole").digests()) > set(named.values())


def test_what_newer_clients_say_of_an_action_comes_back_too(actions):
    executed = b"J\x06\n\x04host"  # field 9, of which nothing is known here
    result = reapi.ActionResult.FromString(reapi.ActionResult(exit_code=1).SerializeToString() + executed)
    actions.update(OTHER, result)
    assert executed in actions.get(OTHER).SerializeToString()


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    "tree",
    [
        b"no Tree\xff",
        reapi.EncodedTree(root=b"no Directory\xff").SerializeToString(),
        reapi.Tree(
            root=reapi.Directory(symlinks=[reapi.SymlinkNode(name="..", target="x")])
        ).SerializeToString(),
    ],
)
def test_a_result_with_a_tree_that_is_none_is_refused(peer, actions, services, tree, ours):
    (digest,) = peer.upload(tree)
    peer.upload(key_of(KEY))
    root = reapi.EncodedTree.FromString(tree).root if tree.startswith(b"\n") else b""
    result = shaped(digest, Digest.of(root))
    assert refusal(actions.update, ACTION if ours else OTHER, result) is CODE.INVALID_ARGUMENT
    assert records(services) == {}


@pytest.mark.parametrize("action", [ACTION, OTHER])
def test_a_tree_too_large_for_one_is_not_asked_for(peer, actions, action):
    peer.upload(key_of(KEY))
    large = Digest("0" * 64, MAX_TREE_BYTES + 1)
    assert refusal(actions.update, action, shaped(large, EMPTY)) is CODE.INVALID_ARGUMENT


def test_large_trees_are_not_all_in_memory_at_once(services, monkeypatch):
    shared = Budget(0)  # nothing but one call alone
    monkeypatch.setattr(published, "Budget", lambda: shared)
    with serving(services) as peer, shared.call() as take:
        actions = Actions(peer)
        result, _named = big_result(peer)
        root, blobs = small_tree()
        peer.upload(*blobs)
        actions.update(OTHER, result)
        peer.update(root, KEY)
        take(1)
        assert refusal(actions.update, OTHER, result) is CODE.ABORTED
        assert refusal(peer.update, root, KEY) is CODE.ABORTED


@pytest.mark.parametrize(
    "result",
    [
        reapi.ActionResult(output_files=[reapi.OutputFile()] * 100_001),
        reapi.ActionResult(output_directories=[reapi.OutputDirectory()] * 100_001),
    ],
)
def test_a_result_of_countless_outputs_is_refused_by_their_number(actions, result):
    with pytest.raises(grpc.RpcError, match="at most 100000 outputs") as refused:
        actions.update(OTHER, result)
    assert refused.value.code() is CODE.INVALID_ARGUMENT


def test_a_result_without_any_output_is_kept(actions):
    result = reapi.ActionResult(exit_code=1, stderr_raw=b"no such file")
    actions.update(OTHER, result)
    assert actions.get(OTHER) == result
    actions.update(OTHER, reapi.ActionResult())
    assert actions.get(OTHER) == reapi.ActionResult()


@pytest.mark.parametrize("name", NAMED)
def test_a_result_of_which_anything_is_missing_is_refused(peer, actions, services, name):
    result, named = big_result(peer, without={name})
    with pytest.raises(grpc.RpcError) as refused:
        actions.update(OTHER, result)
    assert refused.value.code() is CODE.FAILED_PRECONDITION
    assert str(named[name]) in refused.value.details()
    assert records(services) == {}


@pytest.mark.parametrize("name", NAMED)
def test_a_result_that_is_no_longer_complete_is_not_found(peer, actions, services, name):
    result, named = big_result(peer)
    actions.update(OTHER, result)
    os.unlink(services.layout.object(named[name].hash))
    assert refusal(actions.get, OTHER) is CODE.NOT_FOUND


def test_a_hit_makes_all_that_a_result_names_young(peer, actions, services):
    result, named = big_result(peer)
    actions.update(OTHER, result)
    paths = [services.layout.object(digest.hash) for digest in named.values()]
    for path in paths:
        make_old(path)
    actions.get(OTHER)
    assert [os.stat(path).st_atime_ns for path in paths].count(0) == 0


def test_a_read_only_server_answers_gets_and_refuses_updates(peer, reader, actions):
    result, _named = big_result(peer)
    actions.update(OTHER, result)
    peer.update(EMPTY, KEY)
    assert Actions(reader).get(OTHER) == result
    assert Actions(reader).root(ACTION) == EMPTY
    assert refusal(Actions(reader).update, OTHER, result) is CODE.PERMISSION_DENIED


def test_a_malformed_digest_is_refused(actions):
    assert refusal(actions.get, Digest("", 0)) is CODE.INVALID_ARGUMENT
    assert refusal(actions.update, Digest("A" * 64, 1), reapi.ActionResult()) is CODE.INVALID_ARGUMENT
