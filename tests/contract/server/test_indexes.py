"""A server offers the indexes it was told to, and all are views of one set of refs (interface section 5)."""

from contextlib import ExitStack

import grpc
import pytest
from harness.actions import Actions, action_of, key_of, shaped
from harness.assets import DIRECTORY_URN, Assets
from harness.serving import refusal, serving, small_tree

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as reapi
from worker._protos.remote_execution_pb2 import EncodedTree
from worker.server.indexes import INDEXES

CODE = grpc.StatusCode
KEY = "demo/el/aaaa"
URN = f"{DIRECTORY_URN}{KEY}"


def resolve(index, peer):
    if index == "reference-storage":
        return peer.resolve(KEY)
    return Assets(peer).directory(URN) if index == "remote-asset" else Actions(peer).root(action_of(KEY))


def publish(index, peer, root, tree):
    if index == "reference-storage":
        peer.update(root, KEY)
    elif index == "remote-asset":
        Assets(peer).push_directory(root, URN)
    else:
        peer.upload(key_of(KEY))
        Actions(peer).update(action_of(KEY), shaped(tree, root))


@pytest.fixture
def peers(services):
    """By index a server with that one only, all on one volume."""
    with ExitStack() as stack:
        yield {index: stack.enter_context(serving(services, indexes=(index,))) for index in INDEXES}


@pytest.mark.parametrize("by", INDEXES)
def test_what_is_bound_by_one_index_is_found_by_each(peers, by):
    root, blobs = small_tree()
    peers[by].upload(*blobs)
    (tree,) = peers[by].upload(EncodedTree(root=blobs[3], children=[blobs[2]]).SerializeToString())
    for index in INDEXES:
        assert refusal(resolve, index, peers[index]) is CODE.NOT_FOUND
    publish(by, peers[by], root, tree)
    assert {index: resolve(index, peers[index]) for index in INDEXES} == dict.fromkeys(INDEXES, root)


@pytest.mark.parametrize("offered", INDEXES)
def test_an_index_that_is_not_offered_is_not_there(peers, offered):
    peer = peers[offered]
    for index in INDEXES:
        if index != offered:
            assert refusal(resolve, index, peer) is CODE.UNIMPLEMENTED
            assert refusal(publish, index, peer, EMPTY, Digest.of(b"\n\0")) is CODE.UNIMPLEMENTED
    cache = peer.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest()).cache_capabilities
    takes_results = cache.action_cache_update_capabilities.update_enabled
    assert takes_results == (offered == "action-cache")
