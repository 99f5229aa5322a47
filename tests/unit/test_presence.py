"""A look at the volume that needs no worker: the same answer as the bindings', and trouble is no miss."""

import os

import pytest

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import ConfigInvalid, InvalidRequest, VolumeFailed
from caskeeper.layout import Layout
from caskeeper.presence import check_mounted, has_subdir, is_here
from worker._protos import ref_record_pb2, remote_execution_pb2

REF = Ref("p", "e", "k")


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def directory(layout, *, children=(), files=()):
    message = remote_execution_pb2.Directory()
    for name in files:
        node = message.files.add(name=name, is_executable=True)
        node.digest.hash, node.digest.size_bytes = EMPTY
    for name, digest in children:
        node = message.directories.add(name=name)
        node.digest.hash, node.digest.size_bytes = digest
    message.symlinks.add(name="zz", target="a")
    data = message.SerializeToString()
    digest = Digest.of(data)
    write(layout.object(digest.hash), data)
    return digest


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    deep = directory(layout, files=["f"])
    middle = directory(layout, children=[("deep", deep), ("empty", EMPTY)])
    root = directory(layout, children=[("gone", Digest.of(b"not stored")), ("middle", middle)], files=["a"])
    record = ref_record_pb2.RefRecord(hash=root.hash, size_bytes=root.size_bytes, serial=7, origin="commit")
    write(layout.ref(REF), record.SerializeToString())
    return layout


def test_a_ref_is_here_or_not(layout):
    assert is_here(layout, REF)
    assert not is_here(layout, Ref("p", "e", "other"))
    assert not is_here(layout, Ref("p", "none", "k"))


@pytest.mark.parametrize(
    ("subdir", "there"),
    [
        ("middle", True),
        ("middle/deep", True),
        ("middle/empty", True),
        ("middle/empty/x", False),
        ("gone", False),
        ("gone/x", False),
        ("a", False),
        ("midd", False),
    ],
)
def test_a_folder_of_an_artifact_is_here_when_its_directory_is(layout, subdir, there):
    assert has_subdir(layout, REF, subdir) is there


def test_a_missing_ref_has_no_folders(layout):
    assert not has_subdir(layout, Ref("p", "e", "other"), "middle")


@pytest.mark.parametrize("subdir", ["../x", "/x", "a//b"])
def test_a_path_that_leaves_the_tree_is_refused(layout, subdir):
    with pytest.raises(InvalidRequest):
        has_subdir(layout, REF, subdir)


@pytest.mark.parametrize(
    "data", [b"", b"\x0a\x03../", b"\x0a\x7fshort", b"\x0b", b"\xff" * 12, b"\x0a\x40" + b"/" * 64]
)
def test_a_damaged_record_is_trouble_and_no_miss(layout, data):
    write(layout.ref(REF), data)
    with pytest.raises(VolumeFailed):
        has_subdir(layout, REF, "middle")


def test_an_unreadable_record_is_trouble_and_no_miss(layout):
    os.unlink(layout.ref(REF))
    os.mkdir(layout.ref(REF))
    with pytest.raises(VolumeFailed):
        has_subdir(layout, REF, "middle")


def test_a_volume_that_is_not_mounted_is_said(tmp_path):
    with pytest.raises(ConfigInvalid, match="not mounted"):
        check_mounted(Layout(tmp_path / "nowhere"))
