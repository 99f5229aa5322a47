"""Pulls of a part of an artifact, and of what is still lacking (AC-70, AC-73, D-19, D-20)."""

from __future__ import annotations

import os

import pytest
from harness.pulls import K1, REF, assert_account_is_exact, extracted, pull
from harness.services import picture

from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    PushRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import (
    InvalidRequest,
)
from worker.protocols import quiet


def test_an_excluded_folder_stays_away_and_the_record_says_so(services, source):
    pull(services, excluded_subdirs=("buildtree",))
    whole = picture(source)
    assert extracted(services) == {
        path: seen for path, seen in whole.items() if not path.startswith("buildtree")
    }
    assert services.listing.show(REF).excluded == ("buildtree",)
    assert not os.path.exists(services.layout.object(Digest.of(b"deep code").hash))
    assert pull(services, excluded_subdirs=("buildtree",)).cached


def test_exclusion_matches_at_the_root_only(services, publisher, tmp_path):
    """D-19: a folder of the same name further down is content like any other."""
    tree = tmp_path / "publisher" / "nested"
    (tree / "files" / "buildtree").mkdir(parents=True)
    (tree / "files" / "buildtree" / "kept").write_bytes(b"kept")
    (tree / "buildtree").mkdir()
    (tree / "buildtree" / "dropped").write_bytes(b"dropped")
    publisher.run(CommitRequest(path=str(tree), refs=(K1,)), quiet())
    publisher.run(PushRequest(refs=(K1,)), quiet())
    pull(services, excluded_subdirs=("buildtree",))
    assert sorted(extracted(services)) == ["files", "files/buildtree", "files/buildtree/kept"]


def test_excluding_what_is_not_there_is_the_whole_artifact(services):
    pull(services, excluded_subdirs=("sources",))
    assert services.listing.show(REF).excluded == ()
    assert pull(services).cached


def test_a_name_that_is_a_path_cannot_be_excluded(services):
    with pytest.raises(InvalidRequest, match="excluded"):
        pull(services, excluded_subdirs=("files/bin",))


def test_a_later_pull_of_everything_brings_only_what_was_left_out(services, source):
    pull(services, excluded_subdirs=("buildtree",))
    extracted(services)
    result = pull(services)
    assert (result.pulled, result.blobs) == (True, 5)
    assert services.listing.show(REF).excluded == ()
    assert extracted(services) == picture(source)
    assert_account_is_exact(services)


def test_a_narrower_pull_does_not_make_less_of_what_is_here(services):
    pull(services)
    assert pull(services, excluded_subdirs=("buildtree",)).cached
    pull(services, excluded_subdirs=("buildtree",), refresh=True)
    assert services.listing.show(REF).excluded == ()


def test_a_sub_directory_alone_is_added_to_what_is_here_and_to_its_extract(services, source):
    """AC-73 and AC-70."""
    pull(services, excluded_subdirs=("buildtree", "logs"))
    path = services.run(ExtractRequest(ref=K1), quiet()).path
    result = pull(services, subdir="buildtree")
    assert (result.pulled, result.blobs) == (True, 5)
    whole = picture(source)
    assert picture(path) == {name: seen for name, seen in whole.items() if not name.startswith("logs")}
    assert services.listing.show(REF).excluded == ("logs",)
    assert pull(services, subdir="buildtree").cached


def test_a_deep_sub_directory_brings_the_folders_above_it_and_nothing_else(services):
    pull(services, excluded_subdirs=("buildtree",))
    path = services.run(ExtractRequest(ref=K1), quiet()).path
    pull(services, subdir="buildtree/obj/deep")
    assert sorted(name for name in picture(path) if name.startswith("buildtree")) == [
        "buildtree",
        "buildtree/obj",
        "buildtree/obj/deep",
        "buildtree/obj/deep/x.o",
    ]
    assert services.listing.show(REF).included == ("buildtree/obj/deep",)
    assert_account_is_exact(services)


def test_a_sub_directory_of_what_is_not_here_brings_everything(services, source):
    pull(services, subdir="buildtree")
    assert extracted(services) == picture(source)


def test_a_sub_directory_that_the_artifact_lacks_is_named(services):
    with pytest.raises(InvalidRequest, match="nowhere"):
        pull(services, subdir="buildtree/nowhere")
    assert not services.listing.list()
