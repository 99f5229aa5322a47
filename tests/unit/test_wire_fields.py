"""What comes from outside is counted before it is unfolded: two bytes a message are a hundred in memory."""

import pytest

from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest
from worker import directory, tree, views
from worker._protos import artifact_pb2
from worker._protos import remote_execution_pb2 as reapi
from worker.wire_fields import SMALL_BYTES, has_more_fields

X = reapi.Digest(hash="0" * 64, size_bytes=1)
LONG = b"x" * SMALL_BYTES


def test_fields_of_every_kind_are_counted_at_the_top_alone():
    inner = reapi.Directory(files=[reapi.FileNode(name="a", digest=X)] * 9).SerializeToString()
    data = b"".join(
        [
            reapi.EncodedTree(root=inner, children=[inner, LONG]).SerializeToString(),
            b"\x18\x80\x01",  # a number
            b"\x21" + bytes(8),
            b"\x2d" + bytes(4),
            b"\x82\x7d\x01x",  # a tag of two bytes
        ]
    )
    assert not has_more_fields(data, 7)
    assert has_more_fields(data, 6)


def test_a_group_hides_nothing():
    assert has_more_fields(b"\x0b\x0a\x00\x0c" + LONG, 10)


def test_what_ends_too_early_is_left_to_the_parser():
    for end in (b"\x80", b"\x0a", b"\x0a\x80", b"\x08", b"\x08\x80", b"\x09", b"\x0a\x7fx"):
        assert not has_more_fields(b"\x0a\x80\x80\x04" + LONG + end, 10)


@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x12\x00", b"\x1a\x00"])
def test_a_folder_of_countless_empty_entries_is_not_parsed(field):
    data = field * (directory.MAX_FOLDER_ENTRIES + 1)
    with pytest.raises(InvalidRequest, match="more than 1000000 entries"):
        directory.parse(data, Digest("0" * 64, len(data)))


def test_a_tree_of_countless_empty_directories_is_not_parsed():
    data = b"\x0a\x00" + b"\x12\x00" * tree.MAX_MESSAGES
    with pytest.raises(InvalidRequest, match="more than 1000000 directories"):
        tree.parse_tree(data, Digest("0" * 64, len(data)))
    assert len(tree.parse_tree(data[:-2], Digest("0" * 64, len(data) - 2)).messages) == 1


def test_an_artifact_of_countless_empty_dependencies_is_not_parsed():
    data = artifact_pb2.Artifact(version=2).SerializeToString() + b"\x4a\x00" * 50_000
    with pytest.raises(InvalidRequest, match="too large for one"):
        views.artifact_view(data, Digest("0" * 64, len(data)))
    assert views.artifact_view(data[:-2], Digest("0" * 64, len(data) - 2)).messages
