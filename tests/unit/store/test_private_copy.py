"""checkout as a private copy: writable, complete or nothing, never led astray (local-cas section 6)."""

import os
import stat
import threading

import pytest
from harness.checkouts import Extract, copy, store
from harness.trees import VECTORS, listing, write_spec_tree
from harness.volumes import begin, blobs_of, new_volume

from caskeeper.digest import EMPTY
from caskeeper.errors import (
    BlobMissing,
    Cancelled,
    DestinationExists,
    InvalidRequest,
    NoSpace,
)
from worker.closure import WHOLE
from worker.directory import Directory, FileEntry, serialise
from worker.protocols import Context
from worker.store import checkout_copy as module

HELLO = VECTORS["files/bin/hello"]


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def source(tmp_path):
    return write_spec_tree(tmp_path / "source")


def test_a_copy_gives_the_tree_back(volume, source, tmp_path):
    root = store(volume, source)
    assert listing(copy(volume, root, tmp_path / "copy")) == listing(source)


@pytest.mark.parametrize(("umask", "plain", "executable"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_modes_follow_the_umask_and_not_the_store(volume, source, tmp_path, umask, plain, executable):
    root = store(volume, source)
    before = os.umask(umask)
    try:
        path = copy(volume, root, tmp_path / "copy")
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE(os.lstat(f"{path}/{name}").st_mode) for name in ("files/README", "files/bin/hello")
    }
    assert modes == {"files/README": plain, "files/bin/hello": executable}
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(os.stat(f"{path}/files").st_mode) == executable


def test_changing_a_copy_changes_nothing_else(volume, source, tmp_path):
    root = store(volume, source)
    path = copy(volume, root, tmp_path / "copy")
    for name in ("files/README", "files/bin/hello"):
        with open(f"{path}/{name}", "r+b") as file:
            file.write(b"changed")
    assert listing(copy(volume, root, tmp_path / "other")) == listing(source)


@pytest.mark.parametrize(
    "size_bytes", [module.SMALL_BYTES, module.SMALL_BYTES + 1, module.COPY_BYTES + 12345]
)
@pytest.mark.parametrize("ranges", [True, False])
def test_files_of_any_size_are_copied_whole(volume, tmp_path, size_bytes, ranges, monkeypatch):
    (tmp_path / "source").mkdir()
    content = (os.urandom(997) * (size_bytes // 997 + 1))[:size_bytes]
    (tmp_path / "source" / "large").write_bytes(content)
    (tmp_path / "source" / "large").chmod(0o755)
    root = store(volume, tmp_path / "source")
    if not ranges:

        def refuses(*_arguments):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", refuses)
    path = copy(volume, root, tmp_path / "copy")
    assert listing(path) == {"large": (content, True)}


def test_a_kernel_that_copies_nothing_and_says_nothing_is_not_believed(volume, tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    content = os.urandom(module.SMALL_BYTES + 1)
    (tmp_path / "source" / "large").write_bytes(content)
    root = store(volume, tmp_path / "source")
    monkeypatch.setattr(os, "copy_file_range", lambda *_arguments: 0)
    assert listing(copy(volume, root, tmp_path / "copy")) == {"large": (content, False)}


def test_an_empty_folder_is_filled(volume, source, tmp_path):
    (tmp_path / "copy").mkdir()
    assert listing(copy(volume, store(volume, source), tmp_path / "copy")) == listing(source)


def test_nothing_is_written_over(volume, source, tmp_path):
    root = store(volume, source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link", "dangling"):
        with pytest.raises(DestinationExists) as caught:
            copy(volume, root, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    assert listing(tmp_path / "full") == {"mine": (b"mine", False)}
    assert os.listdir(tmp_path / "elsewhere") == []
    assert not os.path.exists(tmp_path / "nowhere")


def test_a_copy_is_not_led_out_by_a_link_that_appears_meanwhile(volume, source, tmp_path, monkeypatch):
    """A folder just made is replaced by a link before it is filled."""
    root = store(volume, source)
    (tmp_path / "outside").mkdir()
    make = os.mkdir

    def make_and_replace(path, mode=0o777, *, dir_fd=None):
        make(path, mode, dir_fd=dir_fd)
        if path == "files":
            os.rmdir(path, dir_fd=dir_fd)
            os.symlink(tmp_path / "outside", path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make_and_replace)
    with pytest.raises(DestinationExists):
        copy(volume, root, tmp_path / "copy")
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize("destination", ["relative", "", "./x"])
def test_a_destination_is_absolute(volume, source, destination):
    with pytest.raises(InvalidRequest, match="absolute"):
        copy(volume, store(volume, source), destination)


def test_a_destination_without_a_folder_above_is_refused(volume, source, tmp_path):
    with pytest.raises(InvalidRequest, match="folder above"):
        copy(volume, store(volume, source), tmp_path / "none" / "copy")


def test_a_failure_leaves_the_destination_as_it_was(volume, source, tmp_path):
    root = store(volume, source)
    os.unlink(volume.layout.object(HELLO.hash))
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        with pytest.raises(BlobMissing):
            copy(volume, root, tmp_path / name)
    assert os.listdir(tmp_path / "empty") == []
    assert not os.path.exists(tmp_path / "new")


def test_a_full_disk_is_no_space_and_names_the_file(volume, source, tmp_path, monkeypatch):
    root = store(volume, source)
    write = os.write

    def full(fd, data):
        if bytes(data) == b"readme\n":
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NoSpace) as caught:
        copy(volume, root, tmp_path / "copy")
    assert f"{tmp_path}/copy/files" in str(caught.value)
    assert not os.path.exists(tmp_path / "copy")


def test_a_directory_message_cannot_lead_out_of_the_destination(volume, tmp_path):
    """Stored by somebody who does not use serialise: the parser refuses it before anything is made."""
    blobs = blobs_of(begin(volume))
    content = blobs.add(b"evil")
    for name in ("../evil", "/tmp/evil", "..", "a/b"):
        root = blobs.add(serialise(Directory(files=(FileEntry(name, content),))))
        with pytest.raises(InvalidRequest):
            copy(volume, root, tmp_path / "copy")
        with pytest.raises(InvalidRequest):
            Extract(volume, f"x{len(name)}")(root)
    assert not os.path.exists(tmp_path / "evil")
    assert not os.path.exists(tmp_path / "copy")


def test_a_root_that_is_empty(volume, tmp_path):
    extract = Extract(volume)
    extract(EMPTY)
    assert listing(extract.path) == {}
    assert listing(copy(volume, EMPTY, tmp_path / "copy", scope=WHOLE)) == {}


@pytest.mark.parametrize("kind", ["links", "copy"])
def test_whoever_asked_is_asked_back_sees_the_whole_and_can_stop_it(volume, source, tmp_path, kind):
    root = store(volume, source)

    def run(context, name):
        if kind == "links":
            Extract(volume, name)(root, context=context)
        else:
            copy(volume, root, tmp_path / name, context=context)

    seen = []
    run(Context(progress=seen.append, check=lambda: None), "one")
    assert (seen[-1].done_objects, seen[-1].done_bytes) == (6, 54)
    callers = []

    def check():
        callers.append(threading.current_thread())
        raise Cancelled("no longer wanted")

    with pytest.raises(Cancelled):
        run(Context(progress=seen.append, check=check), "two")
    assert callers == [threading.current_thread()]
