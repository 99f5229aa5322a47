from __future__ import annotations

import os

import pytest
from harness.pulls import K1, OLD, REF, A, B, assert_account_is_exact, extracted, pull
from harness.services import fake_services, picture

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    PullRequest,
    PullResult,
    PushRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import (
    ArtifactNotFound,
    ConfigInvalid,
    DigestMismatch,
    InvalidRequest,
    NoSpace,
    PermissionDenied,
    RemoteUnavailable,
)
from worker.directory import Directory, DirectoryEntry, FileEntry, serialise
from worker.protocols import Context, Published, quiet
from worker.services.operations import Operation
from worker.store.volume import Volume


def test_a_pulled_artifact_is_what_was_committed(services, source):
    result = pull(services)
    assert (result.pulled, result.cached, result.remote) == (True, False, A)
    assert result.blobs > 10
    assert result.bytes > 0
    assert extracted(services) == picture(source)
    assert services.listing.show(REF).origin == A
    assert_account_is_exact(services)


def test_a_second_pull_asks_nobody_and_makes_everything_young(services):
    pull(services)
    path = services.layout.object(Digest.of(b"deep code").hash)
    os.utime(path, ns=(OLD, os.stat(path).st_mtime_ns))
    services.remotes.asked.clear()
    assert pull(services) == PullResult(pulled=False, cached=True)
    assert services.remotes.asked == []
    assert os.stat(path).st_atime_ns > OLD


def test_refresh_asks_all_the_same(services):
    pull(services)
    result = pull(services, refresh=True)
    assert (result.pulled, result.cached, result.blobs) == (True, False, 0)


def test_refresh_takes_over_what_the_remote_names_now(services, publisher, tmp_path):
    pull(services)
    other = tmp_path / "publisher" / "other"
    other.mkdir()
    (other / "new").write_bytes(b"new content")
    publisher.run(CommitRequest(path=str(other), refs=(K1,)), quiet())
    publisher.run(PushRequest(refs=(K1,)), quiet())
    assert pull(services).cached
    result = pull(services, refresh=True)
    assert (result.pulled, result.blobs) == (True, 2)
    assert extracted(services) == {"new": ("file", b"new content", False)}


def test_refresh_of_what_nobody_has_says_that_it_is_here(services):
    pull(services)
    for remote in services.remotes.remotes.values():
        remote.index.refs.clear()
    assert pull(services, refresh=True) == PullResult(pulled=False, cached=True)


def test_nobody_has_it_is_no_error(services):
    assert pull(services, "demo/hello/other") == PullResult(pulled=False, cached=False)
    assert services.remotes.asked == [A, B]
    assert not services.listing.list()


def test_the_first_remote_that_has_it_wins_and_no_further_one_is_asked(services):
    services.remotes.remotes[A].index.refs.clear()
    assert pull(services).remote == B
    assert services.remotes.asked == [A, B]
    services.remotes.asked.clear()
    services.remotes.remotes[A].index.refs[REF] = services.remotes.remotes[B].index.refs[REF]
    pull(services, refresh=True)
    assert services.remotes.asked == [A]


def test_a_blob_that_expired_there_is_a_miss_and_the_next_remote_is_asked(services, source):
    """AC-71: no error, and what has come already is used."""
    del services.remotes.remotes[A].blobs.data[Digest.of(b"deep code").hash]
    assert pull(services).remote == B
    assert extracted(services) == picture(source)


def test_a_blob_that_no_remote_has_leaves_no_ref(services):
    for remote in services.remotes.remotes.values():
        remote.blobs.data.pop(Digest.of(b"deep code").hash, None)
    assert pull(services) == PullResult(pulled=False, cached=False)
    assert not services.listing.contains(REF)
    assert_account_is_exact(services)


def test_a_failed_remote_is_remembered_and_the_next_one_asked(services, source):
    """D-17."""
    services.remotes.remotes[A].index.failure = RemoteUnavailable("away", A)
    assert pull(services).remote == B
    assert extracted(services) == picture(source)


def test_a_lying_remote_is_remembered_and_the_next_one_asked(services, source):
    """D-21."""
    services.remotes.remotes[A].blobs.data[Digest.of(b"deep code").hash] = b"shall code"
    assert pull(services).remote == B
    assert extracted(services) == picture(source)


def test_failures_count_only_when_nobody_had_it_and_a_transient_one_decides(services):
    a, b = services.remotes.remotes[A], services.remotes.remotes[B]
    a.index.failure = PermissionDenied("not you", A)
    b.index.refs.clear()
    with pytest.raises(PermissionDenied, match=A):
        pull(services)
    b.index.failure = RemoteUnavailable("away", B)
    with pytest.raises(RemoteUnavailable) as both:
        pull(services)
    assert "not you" in str(both.value)
    assert "away" in str(both.value)


def test_a_remote_that_cannot_be_opened_counts_as_failed(services):
    services.remotes.remotes.clear()
    with pytest.raises(RemoteUnavailable):
        pull(services)


def test_a_store_that_is_full_is_not_the_remotes_failure(services, monkeypatch):
    """I10: the next remote would not help, and nobody shall believe in a miss."""

    def full(_operation, _size_bytes, **_more):
        raise NoSpace("the disk is full")

    monkeypatch.setattr(Operation, "reserve", full)
    with pytest.raises(NoSpace):
        pull(services)
    assert services.remotes.asked == [A]
    assert_account_is_exact(services)


def test_without_a_remote_the_way_out_is_named(tmp_path):
    lonely = fake_services(tmp_path)
    with pytest.raises(ConfigInvalid, match="artifacts"):
        pull(lonely)
    lonely.close()


def test_remotes_can_be_named_in_the_request(services):
    assert pull(services, remotes=(B,)).remote == B


def test_a_remote_that_names_another_size_for_a_known_hash_is_refused(services):
    root = services.remotes.remotes[A].index.refs[REF].root
    pull(services)
    lie = Published((Digest(root.hash, root.size_bytes + 1),))
    for remote in services.remotes.remotes.values():
        remote.index.refs[Ref.parse("demo/hello/lie")] = lie
    with pytest.raises(DigestMismatch):
        pull(services, "demo/hello/lie")
    assert not services.listing.contains(Ref.parse("demo/hello/lie"))


def test_a_tree_with_a_name_that_leaves_it_is_refused(services):
    blobs = services.remotes.remotes[A].blobs
    evil = blobs.add(serialise(Directory((FileEntry("../../evil", blobs.add(b"x")),))))
    services.remotes.remotes[A].index.refs[Ref.parse("demo/hello/evil")] = Published((evil,))
    with pytest.raises(InvalidRequest, match="evil"):
        pull(services, "demo/hello/evil")
    assert not services.listing.list()


# -- mending and races ------------------------------------------------------------------------------------


def test_an_interrupted_pull_goes_on_where_it_was(services):
    stop = {"after": 3}

    def check():
        stop["after"] -= 1
        if stop["after"] < 0:
            raise NoSpace("the test's stop")

    with pytest.raises(NoSpace):
        services.run(PullRequest(ref=K1), Context(progress=lambda _progress: None, check=check))
    assert not services.listing.list()
    assert pull(services).pulled
    assert_account_is_exact(services)


def test_a_gap_in_what_is_here_is_mended_from_a_remote(services, source):
    pull(services)
    os.unlink(services.layout.object(Digest.of(b"deep code").hash))
    result = pull(services)
    assert (result.pulled, result.blobs) == (True, 1)
    assert extracted(services) == picture(source)


def test_a_ref_evicted_between_look_and_hold_is_published_again(services, monkeypatch):
    pull(services)
    place = services.layout.ref(REF)
    original = Operation.hold

    def hold_after_eviction(self, refs, roots):
        if os.path.exists(place):
            os.unlink(place)
        monkeypatch.undo()
        original(self, refs, roots)

    monkeypatch.setattr(Operation, "hold", hold_after_eviction)
    assert pull(services).cached
    assert services.listing.contains(REF)


def test_the_order_on_the_volume_is_files_then_directories_children_first_then_the_ref(services, monkeypatch):
    """I2, I3: seen from the volume's own changes."""
    published = []
    original = Volume._change

    def noting(self, verb, *paths):
        if verb in {"publish", "replace", "sync"}:
            published.append((verb, paths[-1]))
        original(self, verb, *paths)

    monkeypatch.setattr(Volume, "_change", noting)
    pull(services)
    places = [path for _verb, path in published]
    root = services.listing.show(REF).roots[0].partition("/")[0]
    order = {path: number for number, path in enumerate(places)}
    objects = services.desk.objects
    todo = [Digest.parse(services.listing.show(REF).roots[0])]
    while todo:
        digest = todo.pop()
        directory = objects.directory(digest)
        for entry in [*directory.files, *directory.directories]:
            if entry.digest.size_bytes:
                assert (
                    order[services.layout.object(entry.digest.hash)]
                    < order[services.layout.object(digest.hash)]
                )
            if isinstance(entry, DirectoryEntry):
                todo.append(entry.digest)
    closure = services.layout.closure(root, "whole")
    sync = max(number for number, (verb, _path) in enumerate(published) if verb == "sync")
    assert order[services.layout.object(root)] < order[closure] < sync < order[services.layout.ref(REF)]
    assert order[services.layout.ref(REF)] == len(places) - 1


def test_pulling_without_an_artifact_of_that_name_extracts_nothing(services):
    with pytest.raises(ArtifactNotFound):
        services.run(ExtractRequest(ref=K1), quiet())


def test_a_folder_that_a_complete_artifact_has_not_is_no_hit(services):
    pull(services)
    for ask in (pull, extracted):
        with pytest.raises(
            InvalidRequest, match="there is no folder 'typo' on the way to 'files/typo'"
        ) as caught:
            ask(services, subdir="files/typo")
        assert caught.value.where == f"ref {K1}"
    with pytest.raises(InvalidRequest, match=r"there is no folder 'typo'( \[|$)"):
        pull(services, subdir="typo")
    assert pull(services, subdir="files/bin").cached
