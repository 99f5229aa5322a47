from __future__ import annotations

import os
import stat

import pytest
from harness.services import fake_services, make_tree, picture

from caskeeper.contract import (
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import (
    ArtifactNotFound,
    DestinationExists,
    InvalidRequest,
    PartialArtifact,
)
from worker.protocols import quiet

K1 = "demo/hello/k1"
A = "http://a"


@pytest.fixture
def source(tmp_path):
    return make_tree(tmp_path / "src")


@pytest.fixture
def services(tmp_path, source):
    made = fake_services(tmp_path, urls=[A])
    made.run(CommitRequest(path=source, refs=(K1,)), quiet())
    yield made
    made.close()


@pytest.fixture
def partial(services, tmp_path):
    services.run(PushRequest(refs=(K1,)), quiet())
    folder = tmp_path / "partial"
    folder.mkdir()
    made = fake_services(folder, urls=[A])
    made.remotes.remotes = services.remotes.remotes
    made.run(PullRequest(ref=K1, excluded_subdirs=("buildtree",)), quiet())
    yield made
    made.close()


def extract(services, ref=K1, **arguments):
    return services.run(ExtractRequest(ref=ref, **arguments), quiet()).path


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# -- shared -------------------------------------------------------------------------------------------------


def test_the_extract_is_the_tree_read_only_and_named_by_its_content(services, source):
    path = extract(services)
    assert picture(path) == picture(source)
    assert path == f"{services.layout.extracts}/demo/hello/{os.path.basename(path)}"
    assert (mode(f"{path}/files/Z"), mode(f"{path}/files/bin/hello")) == (0o444, 0o555)
    assert os.path.samefile(f"{path}/files/Z", services.layout.object(Digest.of(b"z").hash))


def test_an_executable_checkout_leaves_the_object_as_it_was(services, source):
    """D-10."""
    digest = Digest.of(b"#!/bin/sh\necho hello\n")
    path = extract(services)
    assert mode(services.layout.object(digest.hash)) == 0o444
    assert os.path.samefile(f"{path}/files/bin/hello", services.layout.executable(digest.hash))


def test_both_keys_of_a_tree_share_one_extract(services):
    services.run(LinkRequest(ref=K1, key="k2"), quiet())
    assert extract(services) == extract(services, "demo/hello/k2")


def test_an_extract_that_is_there_is_answered_as_it_is(services):
    path = extract(services)
    inode = os.stat(path).st_ino
    assert extract(services) == path
    assert os.stat(path).st_ino == inode


def test_what_an_extract_added_is_counted_and_no_staging_is_left(services):
    extract(services)
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes
    assert not os.listdir(services.layout.staging)


def test_extracting_counts_as_use(services):
    before = services.listing.list()[0].used_ms
    os.utime(_ref_path(services), ns=(1, 1))
    extract(services)
    assert os.stat(_ref_path(services)).st_atime_ns > 1
    assert services.listing.list()[0].used_ms >= before


def _ref_path(services):
    return f"{services.layout.refs}/{K1}"


def test_an_extract_that_somebody_else_put_there_first_wins(services, monkeypatch):
    """AC-56."""
    volume = services.volume
    original = type(volume).move_folder

    def late(self, staged, target, **options):
        os.makedirs(f"{target}/theirs", exist_ok=True)
        return original(self, staged, target, **options)

    monkeypatch.setattr(type(volume), "move_folder", late)
    path = extract(services)
    assert "theirs" in os.listdir(path)
    assert not os.listdir(services.layout.staging)


def test_what_is_not_here_cannot_be_extracted(services):
    with pytest.raises(ArtifactNotFound, match="demo/hello/other"):
        extract(services, "demo/hello/other")


def test_a_gap_that_nobody_fills_is_a_miss_and_leaves_nothing_half_done(services):
    digest = Digest.of(b"deep code")
    os.unlink(services.layout.object(digest.hash))
    with pytest.raises(ArtifactNotFound, match=digest.hash):
        extract(services)
    assert not os.path.exists(f"{services.layout.extracts}/demo/hello") or not os.listdir(
        f"{services.layout.extracts}/demo/hello"
    )
    assert not os.listdir(services.layout.staging)


def test_an_extract_goes_with_its_artifact(services):
    path = extract(services)
    services.run(RemoveRequest(refs=(K1,)), quiet())
    assert not os.path.exists(path)


# -- sub-directories (AC-55) --------------------------------------------------------------------------------


def test_a_sub_directory_of_a_missing_extract_brings_everything_there_is(services, source):
    assert picture(extract(services, subdir="files/bin")) == picture(source)


def test_what_was_left_out_is_left_out_of_the_extract_too(partial, source):
    whole = picture(source)
    assert picture(extract(partial)) == {
        name: seen for name, seen in whole.items() if not name.startswith("buildtree")
    }
    with pytest.raises(PartialArtifact, match="buildtree"):
        extract(partial, subdir="buildtree")


def test_a_sub_directory_that_came_later_is_added_alone(partial, source):
    path = extract(partial)
    inode = os.stat(f"{path}/files").st_ino
    partial.run(PullRequest(ref=K1, subdir="buildtree"), quiet())
    assert picture(path) == picture(source)
    assert os.stat(f"{path}/files").st_ino == inode


def test_an_older_extract_gains_what_a_full_pull_brought(partial, source):
    path = extract(partial)
    partial.run(PullRequest(ref=K1), quiet())
    assert extract(partial) == path
    assert picture(path) == picture(source)


def test_a_sub_directory_that_does_not_exist_is_named(services):
    with pytest.raises(InvalidRequest, match="nowhere"):
        extract(services, subdir="files/nowhere")
    with pytest.raises(InvalidRequest, match="README"):
        extract(services, subdir="files/README")


@pytest.mark.parametrize("subdir", ["/files", "../files", "files/../..", ""])
def test_a_sub_directory_cannot_leave_the_artifact(services, subdir):
    with pytest.raises(InvalidRequest, match="subdir"):
        extract(services, subdir=subdir)


# -- private copies -----------------------------------------------------------------------------------------


def test_a_private_copy_is_writable_and_shares_nothing(services, source, tmp_path):
    destination = str(tmp_path / "out")
    assert extract(services, destination=destination) == destination
    assert picture(destination) == picture(source)
    umask = os.umask(0)
    os.umask(umask)
    assert mode(f"{destination}/files/Z") == 0o666 & ~umask
    assert mode(f"{destination}/files/bin/hello") == 0o777 & ~umask
    (tmp_path / "out" / "files" / "Z").write_bytes(b"changed")
    with open(services.layout.object(Digest.of(b"z").hash), "rb") as file:
        assert file.read() == b"z"


def test_a_private_copy_of_a_sub_directory_is_that_folder(services, source, tmp_path):
    extract(services, destination=str(tmp_path / "out"), subdir="files/bin")
    assert picture(tmp_path / "out") == {"hello": ("file", b"#!/bin/sh\necho hello\n", True)}


def test_an_empty_folder_may_be_filled_and_anything_else_is_left_alone(services, source, tmp_path):
    (tmp_path / "empty").mkdir()
    extract(services, destination=str(tmp_path / "empty"))
    assert picture(tmp_path / "empty") == picture(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(DestinationExists):
            extract(services, destination=str(tmp_path / name))
    assert os.listdir(tmp_path / "full") == ["mine"]


def test_a_failed_copy_leaves_nothing_half_written(services, tmp_path):
    os.unlink(services.layout.object(Digest.of(b"deep code").hash))
    with pytest.raises(ArtifactNotFound):
        extract(services, destination=str(tmp_path / "out"))
    assert not os.path.exists(tmp_path / "out")


@pytest.mark.parametrize("destination", ["/etc/caskeeper", "relative", "~/out"])
def test_a_destination_outside_of_the_roots_is_refused(services, destination):
    with pytest.raises(InvalidRequest, match="destination"):
        extract(services, destination=destination)


@pytest.mark.parametrize("inside", ["cas/objects/00", "tmp/x", "extract/demo/x", "trash/x", "run/x"])
def test_the_caches_own_folders_are_no_destination(services, inside):
    with pytest.raises(InvalidRequest, match="folder of the cache"):
        extract(services, destination=f"{services.layout.root}/{inside}")
