"""An Artifact message and all it references: pulled, in part too, looked at, cleaned, pushed on."""

from __future__ import annotations

import os

import pytest
from harness.artifacts import Artifact
from harness.loose_trees import age_everything
from harness.memory_blobs import MemoryRemote
from harness.services import make_tree, picture

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    DiffRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PullResult,
    PushRequest,
    RemoveRequest,
)
from caskeeper.digest import Digest
from caskeeper.errors import ArtifactNotFound, InvalidRequest, PartialArtifact, RemoteUnavailable
from worker.protocols import ACTION_RESULT, ARTIFACT, BLOB, DIRECTORY, Published, quiet
from worker.services.operations import Operation
from worker.store.refs import RefRecord

KEY = "demo/hello/" + "a" * 64
REF = Ref.parse(KEY)
A, B, SINK = "http://a", "http://b", "http://sink"
OPTIONAL = ("buildroot", "buildtree", "sources", "subsandboxes")


@pytest.fixture
def artifact(a):
    made = Artifact(a.blobs.add)
    a.index.refs[REF] = Published((made.message,), ARTIFACT)
    return made


def pull(services, ref=KEY, **arguments):
    return services.run(PullRequest(ref=ref, **arguments), quiet())


def push(services, *refs, **arguments):
    return services.run(PushRequest(refs=refs or (KEY,), **arguments), quiet())


def stored(services):
    objects = services.layout.objects
    return {f"{two}{rest}" for two in os.listdir(objects) for rest in os.listdir(f"{objects}/{two}")}


def lose(remote, digest):
    return remote.blobs.data.pop(digest.hash)


def assert_account_is_exact(services):
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == usage.used_bytes
    assert not os.listdir(services.layout.staging)


# Pulled whole.


def test_it_is_pulled_with_everything_it_references(services, a, artifact):
    result = pull(services)
    assert (result.pulled, result.cached, result.remote) == (True, False, A)
    assert stored(services) >= set(a.blobs.data)
    shown = services.listing.show(REF)
    assert (shown.kind, shown.complete, shown.excluded, shown.origin) == ("artifact", True, (), A)
    assert_account_is_exact(services)


def test_each_of_its_blobs_travels_once(services, a, artifact):
    pull(services)
    read = [digest for verb, digests in a.blobs.calls if verb.startswith("read") for digest in digests]
    assert len(read) == len(set(read)) == len(a.blobs.data)


def test_a_second_pull_asks_nobody(services, artifact):
    pull(services)
    services.remotes.asked.clear()
    assert pull(services) == PullResult(pulled=False, cached=True)
    assert services.remotes.asked == []


def test_it_is_looked_at_and_checked_out_like_any_tree(services, artifact, tmp_path):
    pull(services)
    paths = {entry.path for entry in services.browse.files(REF)}
    assert {"message", "files/lib/libhello.so", "logs/build.log", "meta/public-data.yaml"} <= paths
    assert {"subsandboxes/0/sub", "buildtree/deep/x.o", "sources/main.c", "buildroot/cc"} <= paths
    assert b"".join(services.browse.cat(REF, "logs/build.log")) == b"log of hello\n"
    assert b"".join(services.browse.cat(REF, "message")) == artifact.data
    seen = picture(services.run(ExtractRequest(ref=KEY), quiet()).path)
    assert seen["files/hello.txt"] == ("file", b"hello\n", False)
    services.run(ExtractRequest(ref=KEY, destination=f"{tmp_path}/out", subdir="files"), quiet())
    assert set(picture(f"{tmp_path}/out")) == {"hello.txt", "lib", "lib/libhello.so"}


def test_it_counts_as_one_artifact_with_all_it_references(services, a, artifact):
    pull(services)
    (line,) = services.disk_usage().refs
    sizes = {hash_hex: len(content) for hash_hex, content in a.blobs.data.items()}
    assert services.listing.show(REF).objects >= len(sizes)
    assert line.physical_bytes == line.unique_bytes
    assert line.logical_bytes is not None
    age_everything(services)
    services.run(RemoveRequest(refs=(KEY,)), quiet())
    assert stored(services) == set()


def test_two_are_compared_and_one_is_linked(services, a, artifact):
    pull(services)
    services.run(LinkRequest(ref=KEY, key="weak"), quiet())
    assert services.listing.show(Ref.parse("demo/hello/weak")).kind == "artifact"
    other = Artifact(a.blobs.add, text=b"changed\n")
    a.index.refs[Ref.parse("demo/hello/other")] = Published((other.message,), ARTIFACT)
    pull(services, "demo/hello/other")
    found = services.run(DiffRequest(ref_a=KEY, ref_b="demo/hello/other", subdir="files"), quiet())
    assert set(found.modified) == {"hello.txt", "lib/libhello.so"}


def test_a_cleanup_takes_it_whole(services, artifact):
    pull(services)
    age_everything(services)
    services.run(CleanupRequest(target_bytes=0), quiet())
    assert services.listing.list() == []
    assert stored(services) == set()


# What the remote does not have of it.


def test_optional_parts_that_the_remote_lacks_are_left_out_and_recorded(services, a, artifact):
    for part in ("buildtree", "sources", "buildroot", "subsandbox"):
        lose(a, artifact.parts[part])
    assert pull(services).pulled
    shown = services.listing.show(REF)
    assert (shown.complete, shown.excluded) == (True, OPTIONAL)
    assert_account_is_exact(services)


@pytest.mark.parametrize("content", [b"object hello\n", b"xhello\n"])
def test_a_part_of_which_one_file_is_gone_is_left_out_whole(services, a, artifact, content):
    lose(a, Digest.of(content))
    pull(services)
    assert services.listing.show(REF).excluded == ("buildtree",)
    assert artifact.parts["buildtree"].hash not in stored(services)


def test_what_of_it_is_here_already_need_not_be_there(services, a, artifact):
    pull(services)
    lose(a, artifact.parts["buildtree"])
    services.run(LinkRequest(ref=KEY, key="kept"), quiet())
    services.run(RemoveRequest(refs=(KEY,)), quiet())
    pull(services)
    assert services.listing.show(REF).excluded == ()


@pytest.mark.parametrize("name", ["files", "build.log", "public-data.yaml", "high-diversity.yaml"])
def test_without_what_every_artifact_has_it_is_not_there(services, a, artifact, name):
    """AC-71: no name, nothing that the next pull would rely upon; the next remote is asked."""
    lose(a, artifact.parts.get(name) or artifact.blobs[name])
    assert pull(services) == PullResult(pulled=False, cached=False)
    assert services.listing.list() == []
    services.remotes.remotes[B].blobs.data.update(a.blobs.data)
    Artifact(services.remotes.remotes[B].blobs.add)
    services.remotes.remotes[B].index.refs.update(a.index.refs)
    assert pull(services).remote == B


def test_an_index_whose_message_is_gone_misses(services, a, artifact):
    lose(a, artifact.message)
    assert pull(services) == PullResult(pulled=False, cached=False)


def test_trouble_with_a_part_is_no_gap(services, a, artifact):
    """I10: only what was answered to be missing is left out."""
    lose(a, artifact.parts["buildtree"])
    a.blobs.fail["find_missing"] = RemoteUnavailable("away", A)
    with pytest.raises(RemoteUnavailable):
        pull(services)
    assert services.listing.list() == []


def test_a_part_that_is_asked_for_by_name_is_not_left_out(services, a, artifact):
    lose(a, artifact.parts["buildtree"])
    assert pull(services, subdir="buildtree/deep") == PullResult(pulled=False, cached=False)
    assert services.listing.list() == []


def test_a_sub_directory_comes_alone_beside_what_was_excluded(services, a, artifact):
    pull(services, subdir="buildtree/deep", excluded_subdirs=("buildtree", "sources"))
    shown = services.listing.show(REF)
    assert (shown.excluded, shown.included) == (("buildtree", "sources"), ("buildtree/deep",))
    assert services.listing.contains(REF, "buildtree/deep")
    assert Digest.of(b"object hello\n").hash not in stored(services)


# Partial artifacts: the whole story.


def test_a_partial_one_is_listed_refused_by_push_completed_and_pushed(services, a, artifact):
    build_tree = lose(a, artifact.parts["buildtree"])
    pull(services)
    (line,) = services.listing.list()
    assert line.excluded == ("buildtree",)
    services.remotes.remotes[B] = sink = MemoryRemote(B)
    with pytest.raises(PartialArtifact, match="pulled without buildtree"):
        push(services)
    assert sink.blobs.data == {}
    a.blobs.add(build_tree)
    completed = pull(services)
    assert completed.pulled
    assert completed.blobs > 0
    assert services.listing.list()[0].excluded == ()
    assert push(services, remotes=(B,)).pushed
    assert sink.index.refs[REF].root == artifact.message


def test_a_partial_one_is_cleaned_whole(services, a, artifact):
    pull(services, excluded_subdirs=OPTIONAL)
    assert services.listing.list()[0].excluded == OPTIONAL
    assert_account_is_exact(services)
    age_everything(services)
    services.run(CleanupRequest(target_bytes=0), quiet())
    assert stored(services) == set()


def test_excluding_at_the_request_brings_less(services, a, artifact):
    pull(services, excluded_subdirs=("buildtree",))
    assert artifact.parts["buildtree"].hash not in stored(services)
    assert pull(services, excluded_subdirs=("buildtree",)) == PullResult(pulled=False, cached=True)


# Pushed on.


def test_what_is_pushed_is_what_was_pulled_and_nothing_composed(services, a, artifact):
    pull(services)
    sink = services.remotes.remotes[B]
    result = push(services, remotes=(B,))
    assert result.pushed
    assert sink.blobs.data == a.blobs.data
    published = sink.index.refs[REF]
    assert (published.roots, published.kind) == ((artifact.message,), ARTIFACT)
    assert set(published.blobs) == set(artifact.blobs.values())
    assert set(published.directories) == set(artifact.parts.values())


def test_a_second_push_finds_it_there(services, artifact):
    pull(services)
    push(services, remotes=(B,))
    outcome = push(services, remotes=(B,)).remotes[0]
    assert (outcome.outcome, outcome.blobs) == ("already-there", 0)


def test_a_remote_that_has_it_in_part_is_completed(services, a, artifact):
    pull(services)
    lose(a, artifact.parts["buildtree"])
    outcome = push(services, remotes=(A,)).remotes[0]
    assert (outcome.outcome, outcome.blobs) == ("pushed", 1)
    assert artifact.parts["buildtree"].hash in a.blobs.data
    assert set(a.index.refs[REF].directories) == set(artifact.parts.values())


def test_a_remote_that_cannot_name_it_is_told_before_anything_is_sent(services, artifact):
    pull(services)
    sink = services.remotes.remotes[B]
    sink.index.kinds = frozenset({DIRECTORY})
    outcomes = {outcome.url: outcome for outcome in push(services).remotes}
    assert outcomes[A].outcome == "already-there"
    assert outcomes[B].outcome == "failed"
    assert "cannot name an artifact of BuildStream 2" in outcomes[B].reason
    assert sink.blobs.data == {}


def test_a_lost_part_is_found_out_before_anything_is_named(services, a, artifact):
    pull(services)
    os.unlink(services.layout.object(artifact.blobs["build.log"].hash))
    del a.blobs.data[artifact.blobs["build.log"].hash]
    with pytest.raises(ArtifactNotFound):
        push(services, remotes=(B,))
    assert not services.remotes.remotes[B].index.refs


def test_a_lost_part_comes_back_from_another_remote_before_it_is_pushed(services, artifact):
    pull(services)
    os.unlink(services.layout.object(artifact.blobs["build.log"].hash))
    assert push(services, remotes=(B,)).pushed
    assert artifact.blobs["build.log"].hash in services.remotes.remotes[B].blobs.data


# Names that change their kind.


def test_a_name_is_bound_to_the_other_kind_and_back(services, a, artifact, tmp_path):
    pull(services)
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(KEY,)), quiet())
    assert services.listing.show(REF).kind == "directory"
    assert push(services, remotes=(A,)).pushed
    assert a.index.refs[REF].kind == DIRECTORY
    a.index.refs[REF] = Published((artifact.message,), ARTIFACT)
    assert pull(services, refresh=True).pulled
    assert services.listing.show(REF).kind == "artifact"


@pytest.mark.parametrize("kind", [ACTION_RESULT, BLOB])
def test_other_kinds_are_neither_pulled_nor_pushed(services, a, artifact, kind):
    a.index.refs[REF] = Published((artifact.message,), kind)
    with pytest.raises(InvalidRequest, match="cannot pull"):
        pull(services)
    a.index.refs[REF] = Published((artifact.message,), ARTIFACT)
    pull(services)
    with services.desk.writer("test", KEY, quiet()) as operation:
        record = services.listing._refs.read(REF)
        bound = RefRecord.fresh(record.roots, origin="server", kind=kind)
        services.pull._naming.publish(operation, [REF], bound)
    with pytest.raises(InvalidRequest, match="it is no artifact"):
        push(services)


# Remotes that lie.


@pytest.mark.parametrize("data", [b"", b"\x0a", b"no message", b"\x10\x01"])
def test_a_message_that_is_none_is_refused(services, a, data):
    a.index.refs[REF] = Published((a.blobs.add(data),), ARTIFACT)
    with pytest.raises(InvalidRequest, match="no Artifact message"):
        pull(services)
    assert stored(services) == set()


def test_a_message_that_is_too_large_is_not_read(services, a):
    a.index.refs[REF] = Published((Digest("a" * 64, 1 << 40),), ARTIFACT)
    with pytest.raises(InvalidRequest, match="too large"):
        pull(services)
    assert not [verb for verb, _digests in a.blobs.calls if verb.startswith("read")]


def test_a_lying_remote_is_passed_over_for_the_next(services, a, artifact):
    b = services.remotes.remotes[B]
    b.blobs.data.update(a.blobs.data)
    b.index.refs.update(a.index.refs)
    a.index.refs[REF] = Published((a.blobs.add(b"no message"),), ARTIFACT)
    assert pull(services).remote == B


def test_it_is_named_only_when_all_of_it_is_here(services, artifact, monkeypatch):
    """I3, with the scope of what came."""
    seen = []
    hold = Operation.hold

    def noting(self, refs, roots):
        seen.append(stored(services))
        hold(self, refs, roots)

    monkeypatch.setattr(Operation, "hold", noting)
    pull(services)
    assert seen[-1] == stored(services)
