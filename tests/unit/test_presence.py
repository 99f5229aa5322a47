"""A look at the volume that needs no worker: the same answer as the bindings', and trouble is no miss."""

import errno
import os

import pytest

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import ArtifactNotFound, ConfigInvalid, DigestMismatch, InvalidRequest, VolumeFailed
from caskeeper.layout import Layout
from caskeeper.presence import check_mounted, has_subdir, is_here
from worker._protos import ref_record_pb2, remote_execution_pb2

REF = Ref("p", "e", "k")
STORED, ABSENT = Digest.of(b"stored"), Digest.of(b"not stored")


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def directory(layout, *, children=(), files=()):
    message = remote_execution_pb2.Directory()
    for name, digest in files:
        node = message.files.add(name=name, is_executable=True)
        node.digest.hash, node.digest.size_bytes = digest
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
    write(layout.object(STORED.hash), b"stored")
    deep = directory(layout, files=[("f", EMPTY), ("g", STORED)])
    middle = directory(layout, children=[("deep", deep), ("empty", EMPTY)])
    gap = directory(layout, children=[("deep", directory(layout, files=[("f", ABSENT)])), ("middle", middle)])
    root = directory(
        layout,
        children=[
            ("gap", gap),
            ("gone", ABSENT),
            ("holes", directory(layout, children=[("gone", ABSENT)])),
            ("middle", middle),
        ],
        files=[("a", EMPTY), ("b", ABSENT)],
    )
    name(layout, REF, root)
    return layout


def name(layout, ref, root, **scope):
    record = ref_record_pb2.RefRecord(hash=root.hash, size_bytes=root.size_bytes, serial=7, origin="commit")
    record.scope.MergeFrom(ref_record_pb2.Scope(**scope))
    write(layout.ref(ref), record.SerializeToString())


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
        ("gap/middle", True),
        ("gap", False),
        ("gap/deep", False),
        ("gone", False),
        ("gone/x", False),
        ("holes", False),
    ],
)
def test_a_folder_of_an_artifact_is_here_when_all_of_it_is(layout, subdir, there):
    """AC-48, D-20."""
    assert has_subdir(layout, REF, subdir) is there


@pytest.mark.parametrize(
    ("subdir", "part"), [("a", "a"), ("midd", "midd"), ("middle/empty/x", "x"), ("gap/f", "f")]
)
def test_a_path_that_is_no_folder_of_it_is_an_error_that_names_the_part(layout, subdir, part):
    with pytest.raises(InvalidRequest, match=f"'{part}'"):
        has_subdir(layout, REF, subdir)


def test_a_folder_of_what_is_not_here_is_an_error(layout):
    with pytest.raises(ArtifactNotFound, match="p/e/other"):
        has_subdir(layout, Ref("p", "e", "other"), "middle")


def test_what_was_left_out_is_not_here_although_its_content_lies_here_by_chance(layout):
    """Nobody keeps it: another artifact brought it."""
    inner = directory(layout, children=[("empty", EMPTY), ("x", directory(layout, files=[("g", STORED)]))])
    root = directory(layout, children=[("build", inner), ("files", inner), ("nothing", EMPTY)])
    name(layout, REF, root, excluded=["build", "nothing"], included=["build/x"])
    found = {
        path: has_subdir(layout, REF, path)
        for path in ("build", "build/x", "build/empty", "files", "nothing")
    }
    assert found == {"build": False, "build/x": True, "build/empty": True, "files": True, "nothing": True}


@pytest.mark.parametrize("stored", ["message", "file"])
def test_an_object_of_another_size_is_damage_and_no_miss(layout, stored):
    folder = directory(layout, files=[("g", STORED)])
    name(layout, REF, directory(layout, children=[("folder", folder)]))
    write(layout.object(folder.hash if stored == "message" else STORED.hash), b"sto")
    with pytest.raises(DigestMismatch, match="bytes of its digest"):
        has_subdir(layout, REF, "folder")


def test_few_messages_that_unfold_into_very_many_are_looked_at_once(layout):
    at = directory(layout, files=[("g", STORED)])
    for _level in range(200):
        at = directory(layout, children=[("a", at), ("b", at)])
    name(layout, REF, directory(layout, children=[("top", at)]))
    assert has_subdir(layout, REF, "top")
    os.unlink(layout.object(STORED.hash))
    assert not has_subdir(layout, REF, "top")


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


@pytest.mark.parametrize("kind", ["junk", "empty", "folder", "link", "pipe", "cut short"])
def test_what_is_no_record_is_no_ref_for_nobody_can_use_it(layout, kind):
    """AC-47; whoever asks gets it anew, and a session is not told that it is there."""
    place = layout.ref(REF)
    with open(place, "rb") as file:
        record = file.read()
    os.unlink(place)
    data = {"junk": b"\xff" * 12, "empty": b"", "cut short": record[:40]}
    if kind in data:
        write(place, data[kind])
    elif kind == "link":
        write(f"{place}.real", record)
        os.symlink(f"{place}.real", place)
    else:
        {"folder": os.mkdir, "pipe": os.mkfifo}[kind](place)
    assert not is_here(layout, REF)


def test_i10_a_record_that_the_disk_does_not_give_is_trouble_and_no_miss(layout, monkeypatch):
    def fails(*_arguments, **_options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("caskeeper.presence._without_age", fails)
    with pytest.raises(VolumeFailed, match="Input/output error"):
        is_here(layout, REF)


def test_looking_makes_nothing_young(layout):
    """AC-47: no touch."""
    place = layout.ref(REF)
    os.utime(place, ns=(10**18, 10**18 + 1))  # so old that a plain read would count as use
    assert is_here(layout, REF)
    assert has_subdir(layout, REF, "middle")
    assert os.stat(place).st_atime_ns == 10**18
