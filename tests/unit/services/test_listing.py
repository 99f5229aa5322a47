from __future__ import annotations

import os
import time

import pytest
from harness.services import fake_services, make_tree

from caskeeper.artifact import Ref
from caskeeper.contract import CleanupRequest, CommitRequest, ExtractRequest, PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, CoordinatorUnavailable, InvalidRequest, VolumeFailed
from worker.protocols import quiet

A = "http://a"
REF = Ref.parse("demo/hello/k1")


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path, urls=[A])
    yield made
    made.close()


def commit(services, tmp_path, ref, *, size=10):
    folder = tmp_path / ref.replace("/", "-")
    folder.mkdir()
    (folder / "content").write_bytes(ref.encode() * size)
    services.run(CommitRequest(path=str(folder), refs=(ref,)), quiet())


@pytest.fixture
def three(services, tmp_path):
    for ref, size in (("demo/b/1", 30), ("demo/a/1", 10), ("other/c/1", 20)):
        commit(services, tmp_path, ref, size=size)
    return services


def names(lines):
    return [line.ref for line in lines]


def test_least_recently_used_comes_first(three):
    assert names(three.listing.list()) == ["demo/b/1", "demo/a/1", "other/c/1"]
    three.run(ExtractRequest(ref="demo/b/1"), quiet())
    assert names(three.listing.list()) == ["demo/a/1", "other/c/1", "demo/b/1"]


def test_it_can_be_sorted_by_name_and_by_size(three):
    assert names(three.listing.list(sort="name")) == ["demo/a/1", "demo/b/1", "other/c/1"]
    by_size = three.listing.list(sort="size")
    assert names(by_size) == ["demo/b/1", "other/c/1", "demo/a/1"]
    assert all(line.size_bytes for line in by_size)
    with pytest.raises(InvalidRequest, match="lru, name, size"):
        three.listing.list(sort="age")


def test_a_pattern_selects_and_what_is_listed_can_be_fed_back(three):
    assert names(three.listing.list("demo/*")) == ["demo/b/1", "demo/a/1"]
    assert names(three.listing.list("*/c/*")) == ["other/c/1"]
    assert names(three.listing.list("nothing")) == []
    for line in three.listing.list():
        assert str(Ref.parse(line.ref)) == line.ref


def test_an_empty_cache_lists_nothing(services):
    assert services.listing.list() == []


def test_without_redis_the_ages_of_the_files_order_the_listing(three, monkeypatch):
    def away(_refs):
        raise CoordinatorUnavailable("away")

    monkeypatch.setattr(three.coordination.recency, "scores", away)
    later_ns = time.time_ns() + 3600 * 10**9  # reading a file never lowers its age
    os.utime(f"{three.layout.refs}/demo/b/1", ns=(later_ns, 0))
    assert names(three.listing.list())[-1] == "demo/b/1"


def test_a_damaged_record_is_listed_as_such(three):
    path = f"{three.layout.refs}/demo/a/1"
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"\xff\xff")
    damaged = {line.ref: line.damaged for line in three.listing.list(sizes=True)}
    assert damaged == {"demo/a/1": True, "demo/b/1": False, "other/c/1": False}


def test_show_tells_everything_about_one_ref(services, tmp_path):
    result = services.run(
        CommitRequest(path=make_tree(tmp_path / "src"), refs=(str(REF), "demo/hello/k2")), quiet()
    )
    shown = services.listing.show(REF)
    assert (shown.kind, shown.roots, shown.origin) == ("directory", (result.root,), "commit")
    assert (shown.complete, shown.objects, shown.protected_by) == (True, 16, ())
    assert shown.created_ms > 0
    os.unlink(services.layout.object(Digest.of(b"z").hash))
    gone = services.listing.show(REF)
    assert (gone.complete, gone.size_bytes, gone.objects) == (False, None, None)
    with pytest.raises(ArtifactNotFound):
        services.listing.show(Ref.parse("demo/hello/other"))


def test_show_names_the_session_that_protects_a_ref(three):
    three.coordination.sessions.open("build-7")
    three.coordination.sessions.require("build-7", ["1"])
    assert three.listing.show(Ref.parse("demo/a/1")).protected_by == ("session build-7",)


def test_contains_answers_for_the_ref_and_touches_nothing(three):
    """AC-47."""
    before = three.listing.list()
    assert three.listing.contains(Ref.parse("demo/b/1"))
    assert not three.listing.contains(Ref.parse("demo/b/2"))
    assert three.listing.list() == before


# -- contains with a sub-directory (AC-48, D-20) ---------------------------------------------------


@pytest.fixture
def tree(services, tmp_path):
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(str(REF),)), quiet())
    (tmp_path / "src" / "empty").mkdir()
    services.run(CommitRequest(path=str(tmp_path / "src"), refs=(str(REF),)), quiet())
    return services


def test_a_folder_that_is_all_here_is_contained(tree):
    assert tree.listing.contains(REF, "buildtree")
    assert tree.listing.contains(REF, "buildtree/obj/deep")


def test_an_empty_folder_is_contained(tree):
    assert tree.listing.contains(REF, "empty")


def test_a_folder_with_a_gap_anywhere_below_is_not(tree):
    os.unlink(tree.layout.object(Digest.of(b"deep code").hash))
    assert not tree.listing.contains(REF, "buildtree")
    assert tree.listing.contains(REF, "files")


def test_a_folder_that_was_left_out_is_not(tree, tmp_path):
    tree.run(PushRequest(refs=(str(REF),)), quiet())
    folder = tmp_path / "other"
    folder.mkdir()
    other = fake_services(folder, urls=[A])
    other.remotes.remotes = tree.remotes.remotes
    other.run(PullRequest(ref=str(REF), excluded_subdirs=("buildtree",)), quiet())
    assert not other.listing.contains(REF, "buildtree")
    assert other.listing.contains(REF, "files")
    other.run(PullRequest(ref=str(REF), subdir="buildtree/obj"), quiet())
    assert other.listing.contains(REF, "buildtree/obj")
    assert not other.listing.contains(REF, "buildtree")
    other.close()


def test_a_path_that_the_artifact_lacks_is_an_error_that_names_it(tree):
    with pytest.raises(InvalidRequest, match="nowhere"):
        tree.listing.contains(REF, "files/nowhere")
    with pytest.raises(ArtifactNotFound):
        tree.listing.contains(Ref.parse("demo/hello/other"), "files")


def test_status_tells_sizes_and_who_is_at_work(tree):
    tree.coordination.sessions.open("build-7", label="nightly")
    status = tree.status()
    assert status.used_bytes == tree.coordination.usage.snapshot().used_bytes > 0
    assert (status.ready, status.size_known, status.operations) == (True, True, ())
    assert [(session.id, session.label) for session in status.sessions] == [("build-7", "nightly")]
    assert status.quota_bytes >= status.cleanup_above_bytes >= status.cleanup_to_bytes > 0


# -- beside what is odd ------------------------------------------------------------------------------


def test_a_stranger_hides_nothing_that_is_healthy(three):
    os.symlink("/etc", f"{three.layout.refs}/demo/etc")
    met = []
    assert len(three.listing.list("demo/*", sizes=True, strangers=met)) == 2
    assert met == [f"{three.layout.refs}/demo/etc"]
    assert len(three.listing.list()) == 3
    assert three.listing.show(Ref.parse("demo/a/1")).complete
    assert three.listing.contains(Ref.parse("demo/a/1"))
    assert len(three.disk_usage("*").refs) == 3
    assert three.listing.strangers() == three.listing.odd().strangers == tuple(met)
    with pytest.raises(VolumeFailed, match="caskeeper verify"):
        three.run(CleanupRequest(target_bytes=0), quiet())


@pytest.mark.parametrize("harm", ["a file", "a message"])
def test_what_is_cut_short_is_told_and_the_rest_shown(tree, harm):
    root = Digest.parse(tree.listing.show(REF).roots[0])
    digest = root if harm == "a message" else Digest.of(b"z")
    for path in (tree.layout.object(digest.hash), *_lists(tree.layout.closures, root)):
        os.unlink(path)
    with open(tree.layout.object(digest.hash), "wb"):
        pass
    shown = tree.listing.show(REF)
    assert (shown.complete, shown.size_bytes, shown.origin) == (False, None, "commit")
    (line,) = tree.listing.list(sizes=True)
    assert line.damaged == (harm == "a message"), "whether all files are there is not looked at"


def _lists(folder, root):
    fan = f"{folder}/{root.hash[:2]}"
    return [f"{fan}/{name}" for name in os.listdir(fan) if name.startswith(root.hash[2:])]
