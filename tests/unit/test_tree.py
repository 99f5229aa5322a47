from __future__ import annotations

import pytest
from harness.tree_messages import tree_message
from harness.trees import MemoryTree

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import remote_execution_pb2 as pb
from worker.tree import parse_tree

#: a file node with a field of newer peers (node_properties = 6), which we neither know nor may lose
NEWER = bytes.fromhex("0a 0c 0a 01 61 12 00 32 05 1a 03 08 ed 03")


def test_every_directory_is_found_under_its_own_digest():
    memory = MemoryTree()
    deep = memory.folder(file=b"deep")
    root = memory.folder(one=deep, other=memory.folder(two=deep), file=b"top")
    data = tree_message(memory.data, root)
    tree = parse_tree(data, Digest.of(data))
    assert tree.root == root
    assert set(tree.messages) == {root, deep, memory.folder(two=deep), EMPTY}
    assert all(Digest.of(message) == digest for digest, message in tree.messages.items())


def test_a_directory_with_fields_of_newer_peers_keeps_its_bytes_and_digest():
    root = pb.Directory(directories=[pb.DirectoryNode(name="d")]).SerializeToString()
    data = pb.EncodedTree(root=root, children=[NEWER]).SerializeToString()
    assert parse_tree(data, Digest.of(data)).messages[Digest.of(NEWER)] == NEWER


@pytest.mark.parametrize("data", [b"", pb.Tree(root=pb.Directory()).SerializeToString()])
def test_the_tree_of_an_empty_directory_has_the_empty_root(data):
    assert parse_tree(data, Digest.of(data)).root == EMPTY


@pytest.mark.parametrize(
    "data",
    [
        b"plain text",
        b"\x0a\xff",
        b"\x18\x01",
        pb.Tree(children=[pb.Directory()]).SerializeToString(),
    ],
    ids=["no message", "cut short", "another message", "no root"],
)
def test_what_is_no_tree_is_refused_by_its_digest(data):
    with pytest.raises(InvalidRequest, match=Digest.of(data).hash):
        parse_tree(data, Digest.of(data))
