from __future__ import annotations

import os

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CommitRequest, ComputeSizeRequest
from caskeeper.errors import InvalidRequest
from worker.protocols import quiet

K1, K2 = "demo/hello/k1", "demo/hello/k2"


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path)
    yield made
    made.close()


def commit(services, path, *refs):
    return services.run(CommitRequest(path=str(path), refs=refs or (K1,)), quiet())


def test_the_root_is_the_one_of_the_specification(services, tmp_path):
    """Test vectors of local-cas section 4: empty build tree."""
    result = commit(services, make_tree(tmp_path / "src", buildtree=False))
    assert result.root == "121cfbba8481b1c6565c475ebb3eec894712d041acaa3187b5d5779b0ecbb95a/317"
    assert result.files == 6


def test_every_ref_is_bound_to_the_root_and_a_second_commit_adds_nothing(services, tmp_path):
    source = make_tree(tmp_path / "src")
    first = commit(services, source, K1, K2, K1)
    assert {line.ref: line.root for line in services.listing.list()} == {K1: first.root, K2: first.root}
    again = commit(services, source, K1, K2)
    assert (again.root, again.added_bytes) == (first.root, 0)


def test_used_grows_by_what_was_added_and_agrees_with_a_recount(services, tmp_path):
    result = commit(services, make_tree(tmp_path / "src"), K1, K2)
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (result.added_bytes, 0)
    recounted = services.run(ComputeSizeRequest(), quiet())
    assert recounted.used_bytes == recounted.estimate_bytes == result.added_bytes


def test_a_changed_tree_replaces_the_ref(services, tmp_path):
    source = make_tree(tmp_path / "src")
    first = commit(services, source)
    (tmp_path / "src" / "files" / "Z").write_bytes(b"changed")
    second = commit(services, source)
    assert second.root != first.root
    assert [line.root for line in services.listing.list()] == [second.root]


def test_an_empty_folder_is_an_artifact(services, tmp_path):
    (tmp_path / "src").mkdir()
    assert commit(services, tmp_path / "src").root.endswith("/0")
    assert services.listing.contains(Ref.parse(K1))


@pytest.mark.parametrize("path", ["/etc", "src", "missing"])
def test_what_is_no_folder_below_the_roots_is_refused(services, tmp_path, path):
    given = str(tmp_path / path) if path == "missing" else path
    with pytest.raises(InvalidRequest, match="argument DIR"):
        commit(services, given)
    assert not services.listing.list()


def test_a_file_is_no_folder(services, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidRequest, match="not a folder"):
        commit(services, tmp_path / "file")


def test_without_a_ref_nothing_is_committed(services, tmp_path):
    (tmp_path / "src").mkdir()
    with pytest.raises(InvalidRequest, match="refs"):
        services.run(CommitRequest(path=str(tmp_path / "src"), refs=()), quiet())


def test_an_entry_that_cannot_be_stored_publishes_no_ref_and_leaves_no_staging(services, tmp_path):
    make_tree(tmp_path / "src")
    os.mkfifo(tmp_path / "src" / "files" / "pipe")
    with pytest.raises(InvalidRequest, match="pipe"):
        commit(services, tmp_path / "src", K1, K2)
    assert not services.listing.list()
    assert not os.listdir(services.layout.staging)
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes


@pytest.mark.parametrize("own", [".", "..", "cas", "cas/objects", "tmp", "trash", "extract", "pins", "run"])
def test_the_cache_does_not_store_itself(services, own):
    cachedir = services.layout.root
    os.makedirs(f"{cachedir}/{own}", exist_ok=True)
    with pytest.raises(InvalidRequest, match="holds the cache or a part of it"):
        commit(services, os.path.normpath(f"{cachedir}/{own}"))
    assert services.listing.list() == []


def test_a_folder_beside_the_caches_own_is_stored(services):
    source = make_tree(os.path.join(services.layout.root, "sources"))
    assert commit(services, source).files > 0
