"""checkout by links: extracts that are shared (local-cas section 6)."""

import os
import stat

import pytest
from harness.checkouts import Extract, NoLinks, copy, store
from harness.trees import VECTORS, listing, write_spec_tree
from harness.volumes import Account, WatchedVolume, fence, new_volume

from caskeeper.digest import Digest
from caskeeper.errors import (
    BlobMissing,
    CacheTooFull,
    InvalidRequest,
    LeaseLost,
    PartialArtifact,
    VolumeFailed,
)
from worker.closure import Scope
from worker.store.measure import used_bytes
from worker.store.objects import OBJECT_IN_TRASH

HELLO = VECTORS["files/bin/hello"]


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def source(tmp_path):
    return write_spec_tree(tmp_path / "source")


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


def test_a_fence_between_a_link_and_the_look_at_it_stops_it(volume, source, monkeypatch):
    root = store(volume, source)
    extract = Extract(volume)
    link = volume.link

    def and_a_fence(*paths):
        linked = link(*paths)
        monkeypatch.undo()
        fence(volume, "extract")
        return linked

    monkeypatch.setattr(volume, "link", and_a_fence)
    with pytest.raises(LeaseLost):
        extract(root)


def test_a_target_that_is_there_is_not_filled(volume, source):
    root = store(volume, source)
    extract = Extract(volume)
    os.mkdir(extract.path)
    with pytest.raises(VolumeFailed):
        extract(root)
