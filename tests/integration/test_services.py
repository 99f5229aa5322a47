"""The verbs from end to end: real volumes, a real Valkey, the real server on loopback."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest
from harness.fleet import Oracle, settings_for
from harness.services import make_tree, picture

from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import (
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    LinkRequest,
    Progress,
    PullRequest,
    PushRequest,
    RemoveRequest,
)
from caskeeper.errors import PermissionDenied, RemoteUnavailable, TooLarge
from worker.protocols import Context, quiet
from worker.server.app import serve
from worker.wiring import build

K1, K2 = "demo/hello/k1", "demo/hello/k2"
#: More than one batch carries, more than one chunk.
LARGE_BYTES = 5_000_001


@pytest.fixture
def source(tmp_path):
    folder = make_tree(tmp_path / "src")
    for name in ("one", "two"):
        with open(f"{folder}/files/large-{name}", "wb") as file:
            file.write(name.encode() + os.urandom(LARGE_BYTES))
    os.makedirs(f"{folder}/many")
    for number in range(1500):
        with open(f"{folder}/many/{number}", "wb") as file:
            file.write(b"%d" % number)
    return folder


@contextmanager
def site(tmp_path, valkey, name, *, database, url="", **options):
    """The services of one volume, whose remote is ``url``."""
    artifacts = (RemoteSpec(url, push=True),) if url else ()
    settings = settings_for(f"{tmp_path}/{name}", artifacts=artifacts, **options)
    os.makedirs(f"{tmp_path}/{name}", exist_ok=True)
    services = build(settings, redis_url=f"{valkey.url}?db={database}")
    try:
        yield services
    finally:
        services.close()


@contextmanager
def server(tmp_path, valkey, *, read_only=False):
    with site(tmp_path, valkey, "server", database=1) as services:
        running = serve(services, listen="127.0.0.1:0", read_only=read_only)
        try:
            yield f"http://127.0.0.1:{running.port}", services
        finally:
            running.stop(0)


def committed(services, tmp_path, source, *refs):
    here = f"{os.path.dirname(services.layout.root)}/copy"
    shutil.copytree(source, here, symlinks=True)
    return services.run(CommitRequest(path=here, refs=refs), quiet())


def assert_sound(services):
    oracle = Oracle(services.layout.root)
    assert oracle.troubles() == []
    usage = services.coordination.usage.snapshot()
    assert usage.reserved_bytes == 0
    assert usage.used_bytes == oracle.used_bytes()
    assert oracle.leavings() == []


def test_an_artifact_goes_round_the_world_and_is_the_same(tmp_path, valkey, source):
    shown = []
    context = Context(progress=shown.append, check=lambda: None)
    with server(tmp_path, valkey) as (url, remote_services):
        with site(tmp_path, valkey, "first", database=2, url=url) as first:
            root = committed(first, tmp_path, source, K1, K2).root
            pushed = first.run(PushRequest(refs=(K1, K2)), context)
            assert pushed.pushed
            assert [outcome.outcome for outcome in pushed.remotes] == ["pushed"]
            again = first.run(PushRequest(refs=(K1, K2)), quiet())
            assert [outcome.outcome for outcome in again.remotes] == ["already-there"]
            assert_sound(first)
        assert {line.ref: line.root for line in remote_services.listing.list()} == {K1: root, K2: root}
        with site(tmp_path, valkey, "second", database=3, url=url) as second:
            pulled = second.run(PullRequest(ref=K1), context)
            assert (pulled.pulled, pulled.remote) == (True, url)
            assert pulled.blobs == pushed.remotes[0].blobs
            second.run(LinkRequest(ref=K1, key="k3"), quiet())
            path = second.run(ExtractRequest(ref="demo/hello/k3"), quiet()).path
            assert picture(path) == picture(source)
            assert second.run(PullRequest(ref=K2), quiet()).blobs == 0
            copy = second.run(ExtractRequest(ref=K2, destination=f"{tmp_path}/second/out"), quiet()).path
            assert picture(copy) == picture(source)
            assert_sound(second)
    by_phase = {}
    for progress in shown:
        by_phase.setdefault(progress.phase, []).append(progress)
    for phase in ("push", "pull"):
        last = by_phase[phase][-1]
        assert isinstance(last, Progress)
        assert last.done_bytes == last.total_bytes > 2 * LARGE_BYTES
        assert last.done_objects == last.total_objects == pulled.blobs


def test_only_what_changed_travels(tmp_path, valkey, source):
    with (
        server(tmp_path, valkey) as (url, _),
        site(tmp_path, valkey, "first", database=2, url=url) as first,
        site(tmp_path, valkey, "second", database=3, url=url) as second,
    ):
        committed(first, tmp_path, source, K1)
        first.run(PushRequest(refs=(K1,)), quiet())
        second.run(PullRequest(ref=K1), quiet())
        with open(f"{tmp_path}/first/copy/many/7", "wb") as file:
            file.write(b"changed")
        first.run(CommitRequest(path=f"{tmp_path}/first/copy", refs=(K2,)), quiet())
        pushed = first.run(PushRequest(refs=(K2,)), quiet())
        pulled = second.run(PullRequest(ref=K2), quiet())
        # one file, the folder it is in, and the root
        assert (pushed.remotes[0].blobs, pulled.blobs) == (3, 3)
        assert_sound(first)
        assert_sound(second)


def test_a_partial_pull_is_recorded_and_completed_later(tmp_path, valkey, source):
    with (
        server(tmp_path, valkey) as (url, _),
        site(tmp_path, valkey, "first", database=2, url=url) as first,
        site(tmp_path, valkey, "second", database=3, url=url) as second,
    ):
        committed(first, tmp_path, source, K1)
        first.run(PushRequest(refs=(K1,)), quiet())
        second.run(PullRequest(ref=K1, excluded_subdirs=("buildtree", "many")), quiet())
        path = second.run(ExtractRequest(ref=K1), quiet()).path
        assert sorted(os.listdir(path)) == ["files", "logs", "meta"]
        second.run(PullRequest(ref=K1, subdir="many"), quiet())
        assert sorted(os.listdir(path)) == ["files", "logs", "many", "meta"]
        assert second.listing.show(Ref.parse(K1)).excluded == ("buildtree",)
        assert_sound(second)
        second.run(PullRequest(ref=K1), quiet())
        assert picture(second.run(ExtractRequest(ref=K1), quiet()).path) == picture(source)
        assert_sound(second)


def test_a_server_that_only_serves_refuses_pushes_and_still_gives(tmp_path, valkey, source):
    """D-15."""
    with server(tmp_path, valkey, read_only=True) as (url, remote_services):
        committed(remote_services, tmp_path, source, K1)
        with site(tmp_path, valkey, "first", database=2, url=url) as first:
            assert first.run(PullRequest(ref=K1), quiet()).pulled
            with pytest.raises(PermissionDenied, match=url):
                first.run(PushRequest(refs=(K1,)), quiet())


def test_a_dead_server_is_transient_and_leaves_nothing_behind(tmp_path, valkey, source):
    with server(tmp_path, valkey) as (url, _):
        pass
    with site(tmp_path, valkey, "first", database=2, url=url) as first:
        with pytest.raises(RemoteUnavailable, match=url):
            first.run(PullRequest(ref=K1), quiet())
        committed(first, tmp_path, source, K1)
        with pytest.raises(RemoteUnavailable, match=url):
            first.run(PushRequest(refs=(K1,)), quiet())
        assert_sound(first)


def test_an_artifact_larger_than_the_quota_is_refused_before_it_is_fetched(tmp_path, valkey, source):
    with (
        server(tmp_path, valkey) as (url, _),
        site(tmp_path, valkey, "first", database=2, url=url) as first,
        site(tmp_path, valkey, "second", database=3, url=url, quota="3M") as second,
    ):
        committed(first, tmp_path, source, K1)
        first.run(PushRequest(refs=(K1,)), quiet())
        with pytest.raises(TooLarge, match="quota"):
            second.run(PullRequest(ref=K1), quiet())
        assert not second.listing.list()
        assert Oracle(second.layout.root).used_bytes() < 3 * 1024 * 1024
        assert second.coordination.usage.snapshot().reserved_bytes == 0


def test_what_was_removed_can_be_pulled_again(tmp_path, valkey, source):
    with (
        server(tmp_path, valkey) as (url, _),
        site(tmp_path, valkey, "first", database=2, url=url) as first,
    ):
        committed(first, tmp_path, source, K1)
        first.run(PushRequest(refs=(K1,)), quiet())
        first.run(ExtractRequest(ref=K1), quiet())
        first.run(RemoveRequest(refs=(K1,)), quiet())
        assert not first.listing.list()
        assert first.run(PullRequest(ref=K1), quiet()).pulled
        assert picture(first.run(ExtractRequest(ref=K1), quiet()).path) == picture(source)
        first.run(ComputeSizeRequest(), quiet())
        assert_sound(first)
