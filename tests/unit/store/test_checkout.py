import os
import stat
import threading

import pytest
from harness.trees import VECTORS, listing, write_spec_tree
from harness.volumes import Account, WatchedVolume, begin, blobs_of, fence, new_volume

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    CacheTooFull,
    Cancelled,
    DestinationExists,
    InvalidRequest,
    LeaseLost,
    NoSpace,
    PartialArtifact,
    VolumeFailed,
)
from worker.closure import WHOLE, Scope
from worker.directory import Directory, FileEntry, serialise
from worker.protocols import Context, quiet
from worker.store import checkout as module
from worker.store.capture import capture
from worker.store.checkout import checkout_copy, checkout_links
from worker.store.measure import used_bytes
from worker.store.objects import OBJECT_IN_TRASH, Objects
from worker.store.volume import Volume

HELLO = VECTORS["files/bin/hello"]


class NoLinks(Volume):
    """A file system on which no second name can be made."""

    def link(self, source, target):
        self._change("link", source, target)
        return False


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def source(tmp_path):
    return write_spec_tree(tmp_path / "source")


def store(volume, source):
    staging = begin(volume, "commit")
    captured = capture(os.fspath(source), blobs_of(staging), context=quiet())
    staging.end()
    return captured.root


class Extract:
    """An operation that checks out by links."""

    def __init__(self, volume, operation="extract", account=None):
        self.volume = volume
        self.staging = begin(volume, operation, account)
        self.blobs = blobs_of(self.staging)
        self.path = self.staging.path()

    def __call__(self, root, context=None, **arguments):
        return checkout_links(root, self.path, blobs=self.blobs, context=context or quiet(), **arguments)


def copy(volume, root, destination, context=None, **arguments):
    checkout_copy(
        root, os.fspath(destination), objects=Objects(volume), context=context or quiet(), **arguments
    )
    return os.fspath(destination)


def without_files(tree):
    return {path for path, value in tree.items() if not isinstance(value, tuple)}


# -- by links ----------------------------------------------------------------------------------------------


def test_links_give_the_tree_back(volume, source):
    extract = Extract(volume)
    assert extract(store(volume, source)) == 0
    assert listing(extract.path) == listing(source)


def test_files_are_links_to_read_only_objects_and_executables_to_inodes_of_their_own(volume, source):
    extract = Extract(volume)
    extract(store(volume, source))
    layout = volume.layout
    readme, hello = f"{extract.path}/files/README", f"{extract.path}/files/bin/hello"
    assert os.path.samefile(readme, layout.object(Digest.of(b"readme\n").hash))
    assert os.path.samefile(hello, layout.executable(HELLO.hash))
    assert not os.path.samefile(hello, layout.object(HELLO.hash))
    assert stat.S_IMODE(os.stat(readme).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(hello).st_mode) == 0o555
    assert stat.S_IMODE(os.stat(layout.object(HELLO.hash)).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(f"{extract.path}/logs/build.log").st_mode) == 0o444
    assert stat.S_IMODE(os.stat(f"{extract.path}/files").st_mode) == 0o755


def test_only_the_executable_inodes_take_place(volume, source):
    root = store(volume, source)
    before = used_bytes(volume)
    account = Account()
    extract = Extract(volume, account=account)
    extract(root)
    assert used_bytes(volume) - before == extract.staging.added_bytes == account.spent == volume.charge(21)


def test_one_content_as_file_and_as_executable(volume, tmp_path):
    (tmp_path / "source").mkdir()
    for name, mode in {"plain": 0o644, "run": 0o755, "run2": 0o700}.items():
        (tmp_path / "source" / name).write_bytes(b"#!")
        (tmp_path / "source" / name).chmod(mode)
    extract = Extract(volume)
    extract(store(volume, tmp_path / "source"))
    assert listing(extract.path) == {"plain": (b"#!", False), "run": (b"#!", True), "run2": (b"#!", True)}
    assert os.path.samefile(f"{extract.path}/run", f"{extract.path}/run2")


def test_a_sub_tree_alone(volume, source):
    extract = Extract(volume)
    extract(store(volume, source), subdir="files/bin")
    assert listing(extract.path) == {"hello": (b"#!/bin/sh\necho hello\n", True)}


@pytest.mark.parametrize("subdir", ["none", "files/none", "files/README", "files/run"])
def test_a_sub_tree_that_is_none_is_refused(volume, source, subdir):
    root = store(volume, source)
    extract = Extract(volume)
    with pytest.raises(InvalidRequest, match="there is no folder"):
        extract(root, subdir=subdir)
    assert not os.path.exists(extract.path)


def test_the_scope_decides_what_is_extracted(volume, source, tmp_path):
    root = store(volume, source)
    os.unlink(volume.layout.object(VECTORS["files/bin"].hash))  # as a pull without files has left it
    os.unlink(volume.layout.object(HELLO.hash))
    scope = Scope.of(["files"])
    extract = Extract(volume)
    extract(root, scope=scope)
    whole = listing(source)
    expected = {path: value for path, value in whole.items() if not path.startswith("files")}
    assert listing(extract.path) == expected
    assert listing(copy(volume, root, tmp_path / "copy", scope=scope)) == expected


def test_an_included_path_comes_without_its_neighbours(volume, source, tmp_path):
    root = store(volume, source)
    scope = Scope.of(["files"], ["files/bin"])
    extract = Extract(volume)
    extract(root, scope=scope)
    assert {path for path in listing(extract.path) if path.startswith("files")} == {
        "files",
        "files/bin",
        "files/bin/hello",
    }
    inner = copy(volume, root, tmp_path / "copy", scope=scope, subdir="files")
    assert set(listing(inner)) == {"bin", "bin/hello"}


def test_a_sub_tree_that_was_left_out_is_a_partial_artifact(volume, source):
    root = store(volume, source)
    with pytest.raises(PartialArtifact, match="files/bin"):
        Extract(volume)(root, scope=Scope.of(["files"]), subdir="files/bin")


@pytest.mark.parametrize("digest", [HELLO, VECTORS["files/été"], VECTORS["files/bin"], VECTORS["meta"]])
def test_what_is_missing_is_an_error_and_no_hole(volume, source, tmp_path, digest):
    root = store(volume, source)
    os.unlink(volume.layout.object(digest.hash))
    with pytest.raises(BlobMissing, match=digest.hash):
        Extract(volume)(root)
    with pytest.raises(BlobMissing, match=digest.hash):
        copy(volume, root, tmp_path / "copy")
    assert not os.path.exists(tmp_path / "copy")


def test_what_a_cleanup_has_in_its_hands_is_fetched_back(volume, source, tmp_path):
    root = store(volume, source)
    trash = volume.layout.trash("cleanup")
    volume.make_folder(trash)
    for digest in (HELLO, VECTORS["files/été"], VECTORS["meta"]):
        os.rename(volume.layout.object(digest.hash), f"{trash}/{OBJECT_IN_TRASH}{digest.hash}")
    extract = Extract(volume)
    extract(root)
    assert listing(extract.path) == listing(source)
    assert os.listdir(trash) == []


def test_where_no_link_is_possible_it_copies_and_counts(tmp_path, source):
    volume = new_volume(tmp_path, NoLinks)
    root = store(volume, source)
    account = Account()
    before = used_bytes(volume)
    extract = Extract(volume, account=account)
    copied = extract(root)
    assert listing(extract.path) == listing(source)
    assert stat.S_IMODE(os.stat(f"{extract.path}/files/bin/hello").st_mode) == 0o555
    assert stat.S_IMODE(os.stat(f"{extract.path}/files/README").st_mode) == 0o444
    assert os.stat(f"{extract.path}/files/README").st_nlink == 1
    extract.staging.add(copied)
    assert used_bytes(volume) - before == extract.staging.added_bytes == account.spent


def test_copies_that_do_not_fit_stop_it(tmp_path, source):
    volume = new_volume(tmp_path, NoLinks)
    root = store(volume, source)
    with pytest.raises(CacheTooFull):
        Extract(volume, account=Account(limit_bytes=2 * volume.block_bytes))(root)


def test_a_fence_stops_it(volume, source):
    root = store(volume, source)
    extract = Extract(volume)
    fence(volume, "extract")
    with pytest.raises(LeaseLost):
        extract(root)


def test_a_fence_in_the_middle_stops_it(tmp_path, source):
    volume = new_volume(tmp_path, WatchedVolume)
    root = store(volume, source)
    extract = Extract(volume)
    links = []

    def after_three(verb, *paths):
        if verb == "link":
            links.append(paths)
            if len(links) == 3:
                fence(volume, "extract")

    volume.before = after_three
    with pytest.raises(LeaseLost):
        extract(root)
    assert not os.path.exists(extract.path)


def test_a_target_that_is_there_is_not_filled(volume, source):
    root = store(volume, source)
    extract = Extract(volume)
    os.mkdir(extract.path)
    with pytest.raises(VolumeFailed):
        extract(root)


# -- as a private copy -------------------------------------------------------------------------------------


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
    "size_bytes", [module.WHOLE_BYTES, module.WHOLE_BYTES + 1, module.COPY_BYTES + 12345]
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
    content = os.urandom(module.WHOLE_BYTES + 1)
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
