from __future__ import annotations

import os

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, LinkRequest, PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, InvalidRequest
from worker.protocols import quiet

K1 = "demo/hello/k1"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=["http://a"])
    made.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(K1,)), quiet())
    yield made
    made.close()


def roots(services):
    return {line.ref: line.root for line in services.listing.list()}


def test_the_new_key_names_the_same_root_and_the_old_ref_stays_as_it_is(services):
    before = services.listing.show(Ref.parse(K1))
    services.run(LinkRequest(ref=K1, key="k2"), quiet())
    assert roots(services) == {K1: before.roots[0], "demo/hello/k2": before.roots[0]}
    after = services.listing.show(Ref.parse(K1))
    assert (after.created_ms, after.origin) == (before.created_ms, "commit")
    assert services.listing.show(Ref.parse("demo/hello/k2")).origin == "link"


def test_linking_makes_the_whole_closure_young(services):
    digest = Digest.of(b"deep code")
    path = services.layout.object(digest.hash)
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns))
    services.run(LinkRequest(ref=K1, key="k2"), quiet())
    assert os.stat(path).st_atime_ns > 1


def test_a_ref_that_is_not_here_cannot_be_linked(services):
    with pytest.raises(ArtifactNotFound):
        services.run(LinkRequest(ref="demo/hello/other", key="k2"), quiet())
    with pytest.raises(InvalidRequest):
        services.run(LinkRequest(ref=K1, key="../k2"), quiet())


def test_a_tree_with_a_gap_is_not_linked(services):
    os.unlink(services.layout.object(Digest.of(b"deep code").hash))
    with pytest.raises(ArtifactNotFound, match=Digest.of(b"deep code").hash):
        services.run(LinkRequest(ref=K1, key="k2"), quiet())
    assert list(roots(services)) == []


def test_a_partial_artifact_is_linked_as_the_part_it_is(services, tmp_path):
    services.run(PushRequest(refs=(K1,)), quiet())
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = fake_services(other_folder, urls=["http://a"])
    other.remotes.remotes = services.remotes.remotes
    other.run(PullRequest(ref=K1, excluded_subdirs=("buildtree",)), quiet())
    other.run(LinkRequest(ref=K1, key="k2"), quiet())
    assert other.listing.show(Ref.parse("demo/hello/k2")).excluded == ("buildtree",)
    other.close()
