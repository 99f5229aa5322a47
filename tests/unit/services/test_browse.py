from __future__ import annotations

import os

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, BlobMissing, DigestMismatch, InvalidRequest, PartialArtifact
from worker.protocols import quiet

REF = Ref.parse("demo/hello/k1")


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=["http://a"])
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(str(REF),)), quiet())
    yield made
    made.close()


@pytest.fixture
def partial(services, tmp_path):
    """Without its build tree but for one folder of that."""
    services.run(PushRequest(refs=(str(REF),)), quiet())
    (tmp_path / "other").mkdir()
    other = fake_services(tmp_path / "other", urls=["http://a"])
    other.remotes.remotes = services.remotes.remotes
    other.run(PullRequest(ref=str(REF), excluded_subdirs=("buildtree",)), quiet())
    yield other
    other.close()


def rows(entries):
    return [(entry.kind, entry.mode, entry.size_bytes, entry.path) for entry in entries]


def test_every_entry_comes_with_kind_mode_and_size_a_folder_before_what_is_in_it(services):
    assert rows(services.browse.files(REF)) == [
        ("directory", "0755", 0, "buildtree"),
        ("file", "0644", 11, "buildtree/main.o"),
        ("directory", "0755", 0, "buildtree/obj"),
        ("directory", "0755", 0, "buildtree/obj/deep"),
        ("file", "0644", 9, "buildtree/obj/deep/x.o"),
        ("directory", "0755", 0, "files"),
        ("file", "0644", 7, "files/README"),
        ("file", "0644", 1, "files/Z"),
        ("directory", "0755", 0, "files/bin"),
        ("file", "0755", 21, "files/bin/hello"),
        ("symlink", "0777", 0, "files/run"),
        ("file", "0644", 1, "files/été"),
        ("directory", "0755", 0, "logs"),
        ("file", "0644", 0, "logs/build.log"),
        ("directory", "0755", 0, "meta"),
        ("file", "0644", 24, "meta/keys.yaml"),
    ]
    links = {entry.path: entry.target for entry in services.browse.files(REF) if entry.kind == "symlink"}
    assert links == {"files/run": "bin/hello"}


def test_one_folder_alone_has_paths_relative_to_it(services):
    assert [entry.path for entry in services.browse.files(REF, "buildtree/obj/")] == ["deep", "deep/x.o"]
    with pytest.raises(InvalidRequest, match="'nowhere'"):
        list(services.browse.files(REF, "nowhere"))
    with pytest.raises(ArtifactNotFound):
        list(services.browse.files(Ref.parse("demo/hello/k2")))


def test_cat_gives_the_bytes_of_one_file(services):
    assert b"".join(services.browse.cat(REF, "files/bin/hello")) == b"#!/bin/sh\necho hello\n"
    assert b"".join(services.browse.cat(REF, "logs/build.log")) == b""


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("files/run", "a symbolic link to 'bin/hello'"),
        ("files/bin", "is a folder"),
        ("files/none", "is not in it"),
        ("files/README/x", "there is no folder 'README'"),
        ("files/run/x", "there is no folder 'run'"),
        ("../files", "not a path inside"),
        ("/files/Z", "not a path inside"),
        ("", "not a path inside"),
    ],
)
def test_cat_of_what_is_no_file_says_what_it_is(services, path, says):
    with pytest.raises(InvalidRequest, match=says):
        list(services.browse.cat(REF, path))


def test_damage_is_never_an_answer(services):
    path = services.layout.object(Digest.of(b"z").hash)
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(b"Q")
    with pytest.raises(DigestMismatch):
        list(services.browse.cat(REF, "files/Z"))
    os.unlink(path)
    with pytest.raises(BlobMissing):
        list(services.browse.cat(REF, "files/Z"))


def test_what_was_left_out_is_listed_as_such_and_cannot_be_read(partial):
    entries = list(partial.browse.files(REF))
    assert [entry.path for entry in entries if not entry.here] == ["buildtree"]
    with pytest.raises(PartialArtifact) as caught:
        partial.browse.cat(REF, "buildtree/main.o")
    assert caught.value.where == f"ref {REF}"
    with pytest.raises(PartialArtifact):
        list(partial.browse.files(REF, "buildtree"))
    partial.run(PullRequest(ref=str(REF), subdir="buildtree/obj"), quiet())
    entries = {entry.path: entry.here for entry in partial.browse.files(REF)}
    assert (entries["buildtree/main.o"], entries["buildtree/obj/deep/x.o"]) == (False, True)
    assert b"".join(partial.browse.cat(REF, "buildtree/obj/deep/x.o")) == b"deep code"
    with pytest.raises(PartialArtifact):
        partial.browse.cat(REF, "buildtree/main.o")
