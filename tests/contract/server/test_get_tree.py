"""GetTree: pages of Directory messages as they are stored (wire-protocols section 3)."""

import os

import grpc
import pytest
from harness.serving import message, refusal, small_tree

from caskeeper.digest import EMPTY, Digest
from worker._protos import remote_execution_pb2 as reapi
from worker.server import tree_pages

CODE = grpc.StatusCode


def ask(peer, root, **options):
    return list(peer.cas.GetTree(reapi.GetTreeRequest(root_digest=message(root), **options)))


def directories(answers):
    return [directory.SerializeToString() for answer in answers for directory in answer.directories]


def folder(*children, **files):
    """A Directory message with these sub-directories, by name, and files."""
    return reapi.Directory(
        files=[
            reapi.FileNode(name=name, digest=message(Digest.of(data))) for name, data in sorted(files.items())
        ],
        directories=[
            reapi.DirectoryNode(name=f"d{number}", digest=message(Digest.of(child)))
            for number, child in enumerate(children)
        ],
    ).SerializeToString()


def deep_tree():
    """(root, messages): two folders of one content, three levels."""
    leaf, other = folder(leaf=b"leaf"), folder(other=b"other")
    left, right = folder(leaf, other), folder(leaf, right=b"right")
    return Digest.of(root := folder(left, right)), [root, left, right, leaf, other]


def test_every_directory_comes_once_and_only_directories(peer):
    root, blobs = small_tree()
    peer.upload(*blobs)
    answers = ask(peer, root)
    assert directories(answers) == [blobs[3], blobs[2]]
    assert [answer.next_page_token for answer in answers] == [""]


def test_pages_are_as_long_as_asked_and_a_token_goes_on_behind_them(peer):
    root, messages = deep_tree()
    peer.upload(*messages)
    answers = ask(peer, root, page_size=2)
    assert [len(answer.directories) for answer in answers] == [2, 2, 1]
    assert sorted(directories(answers)) == sorted(messages)
    for number, answer in enumerate(answers[:-1]):
        rest = ask(peer, root, page_size=2, page_token=answer.next_page_token)
        assert directories(rest) == directories(answers[number + 1 :])
    assert answers[-1].next_page_token == ""


def test_what_is_missing_is_left_out_and_only_a_missing_root_is_not_found(peer, services):
    root, messages = deep_tree()
    peer.upload(*messages)
    os.unlink(services.layout.object(Digest.of(messages[1]).hash))
    assert sorted(directories(ask(peer, root))) == sorted([messages[0], messages[2], messages[3]])
    os.unlink(services.layout.object(root.hash))
    assert refusal(ask, peer, root) is CODE.NOT_FOUND
    assert refusal(ask, peer, Digest(Digest.of(messages[2]).hash, 1)) is CODE.NOT_FOUND


def test_unknown_fields_come_back_as_they_were_sent(peer):
    stored = folder(file=b"file") + bytes([0x2A, 0x02, 0x1A, 0x00])  # node_properties of newer peers
    (root,) = peer.upload(stored)
    raw = peer.channel.unary_stream(
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree",
        request_serializer=reapi.GetTreeRequest.SerializeToString,
    )
    (answer,) = raw(reapi.GetTreeRequest(root_digest=message(root)))
    assert list(reapi.EncodedGetTreeResponse.FromString(answer).directories) == [stored]


def test_the_empty_directory_is_always_there_and_a_read_only_server_answers_too(peer, services, reader):
    assert directories(ask(peer, EMPTY)) == [b""]
    root, messages = deep_tree()
    peer.upload(*messages)
    assert len(directories(ask(reader, root))) == 5


@pytest.mark.parametrize("options", [{"page_size": -1}, {"page_token": "nonsense"}])
def test_a_page_that_cannot_be_is_refused(peer, options):
    root, blobs = small_tree()
    peer.upload(*blobs)
    assert refusal(ask, peer, root, **options) is CODE.INVALID_ARGUMENT


def test_what_is_no_directory_is_refused(peer):
    (file,) = peer.upload(b"\xff\xff no message")
    assert refusal(ask, peer, file) is CODE.INVALID_ARGUMENT
    parent = reapi.Directory(
        directories=[reapi.DirectoryNode(name="d", digest=message(file))]
    ).SerializeToString()
    (root,) = peer.upload(parent)
    assert refusal(ask, peer, root) is CODE.INVALID_ARGUMENT


def test_a_directory_too_large_for_any_answer_is_refused_if_it_is_here(peer, monkeypatch):
    root, messages = deep_tree()
    peer.upload(*messages)
    largest = max(map(len, messages))
    monkeypatch.setattr(tree_pages, "MESSAGE_BYTES", largest - 1)
    assert refusal(ask, peer, root) is CODE.INVALID_ARGUMENT
    assert refusal(ask, peer, Digest("0" * 64, 10**9)) is CODE.NOT_FOUND
    monkeypatch.setattr(tree_pages, "MESSAGE_BYTES", largest)
    assert len(directories(ask(peer, root))) == 5
