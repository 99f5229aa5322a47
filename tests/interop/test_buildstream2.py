"""BuildStream 2.8 and caskeeper share artifacts through `caskeeper server`."""

import os

import pytest
from harness.bst2 import BuildStream
from harness.buildstream import ELEMENTS, below
from harness.fleet import Oracle, fleet
from harness.trees import listing

from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import CleanupRequest, ExtractRequest, PullRequest, PushRequest
from caskeeper.digest import Digest
from caskeeper.errors import PartialArtifact
from worker.protocols import quiet


def test_a_build_is_pushed_pulled_after_a_wipe_and_checked_out_identical(built2, tmp_path):
    user = built2.user
    assert user.queue("Push", built2.said) == (3, 0, 0)
    user.wipe()
    assert set(user.states().values()) == {"buildable", "waiting"}
    said = user.run("--pull-buildtrees", "artifact", "pull", *ELEMENTS)
    assert user.queue("Pull", said) == (3, 0, 0)
    assert set(user.states().values()) == {"cached"}
    assert user.messages() == built2.messages
    for element in ELEMENTS:
        assert listing(user.checkout(element, f"{tmp_path}/{ELEMENTS[element]}")) == built2.files[element]


def test_a_user_without_the_sources_gets_every_byte_from_the_server(built2, tmp_path):
    user = BuildStream(str(tmp_path / "user"), built2.empty, {"url": built2.url})
    built2.check_pulled_by(user, f"{tmp_path}/out")


def test_an_instance_name_changes_nothing(built2, tmp_path, serving):
    with serving(tmp_path / "server") as url:
        server = {"url": url, "push": True, "instance-name": "some/instance"}
        user = BuildStream(str(tmp_path / "user"), built2.project, server)
        assert user.queue("Push", user.run("build", *ELEMENTS)) == (3, 0, 0)
        second = BuildStream(str(tmp_path / "second"), built2.empty, server)
        built2.check_pulled_by(second, f"{tmp_path}/out")


def test_an_artifact_of_which_a_blob_is_gone_is_built_and_pushed_anew(built2, tmp_path, serving):
    with serving(tmp_path / "server") as url:
        first, second, third = (
            BuildStream(str(tmp_path / name), built2.project, {"url": url, "push": True})
            for name in ("first", "second", "third")
        )
        assert first.queue("Push", first.run("build", *ELEMENTS)) == (3, 0, 0)
        gone = Digest.of(b"#pragma once\n").hash
        os.remove(f"{tmp_path}/server/cache/cas/objects/{gone[:2]}/{gone[2:]}")
        said = second.run("build", *ELEMENTS)
        assert second.queue("Pull", said) == (2, 1, 0)
        assert second.queue("Build", said) == (1, 2, 0)
        # Built within the same second it is the same artifact: then the missing blob is all that is sent.
        assert second.queue("Push", said) in {(1, 2, 0), (0, 3, 0)}
        assert third.queue("Pull", third.run("build", *ELEMENTS)) == (3, 0, 0)


def test_an_explicit_push_finds_everything_there(built2):
    assert built2.user.queue("Push", built2.user.run("artifact", "push", *ELEMENTS)) == (0, 3, 0)


def test_sources_are_pushed_once(built2, tmp_path):
    user = BuildStream(
        str(tmp_path / "user"), built2.project, {"url": built2.url, "push": True}, sources=True
    )
    assert user.queue("Src-push", user.run("source", "push", *ELEMENTS)) == (3, 0, 0)
    assert user.queue("Src-push", user.run("source", "push", *ELEMENTS)) == (0, 3, 0)


@pytest.mark.parametrize("index", ["auto", "remote-asset"])
def test_our_workers_pull_and_extract_what_buildstream_pushed(built2, tmp_path, valkey, index):
    (tmp_path / "copy").mkdir()
    with fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(built2.url, index=index),)) as services:
        for number, ref in enumerate(built2.messages):
            pulled = services.run(PullRequest(ref=ref), quiet())
            assert pulled.pulled
            assert pulled.remote == built2.url
            tree = built2.check_extract(ref, services.run(ExtractRequest(ref=ref), quiet()).path)
            assert below(tree, "sources") == below(tree, "files")
            assert any(path.startswith("buildroot/") for path in tree)
            copy = services.run(ExtractRequest(ref=ref, destination=f"{tmp_path}/copy/{number}"), quiet())
            built2.check_extract(ref, copy.path)
        assert Oracle(services.layout.root).troubles() == []


def test_the_command_pulls_shows_and_extracts_what_buildstream_pushed(built2, tmp_path, caskeeper):
    (tmp_path / "copy").mkdir()
    own = {"CASKEEPER_CACHEDIR": str(tmp_path / "cache")}
    try:
        for element, ref in built2.refs.items():
            pulled = caskeeper(tmp_path, "pull", ref, "--remote", f"url={built2.url}", **own)
            assert pulled["results"][0]["remote"] == built2.url
            shown = caskeeper(tmp_path, "show", ref, **own)
            assert (shown["kind"], shown["complete"]) == ("artifact", True)
            copy = f"{tmp_path}/copy/{ELEMENTS[element]}"
            assert caskeeper(tmp_path, "extract", ref, "--to", copy, **own)["path"] == copy
            built2.check_extract(ref, copy)
    finally:
        caskeeper(tmp_path, "down", **own)


def test_an_artifact_lacks_its_build_root_is_completed_and_pushed_on(built2, tmp_path, valkey, serving):
    ref = built2.refs["base.bst"]
    with serving(tmp_path / "server") as url:
        remotes = (RemoteSpec(built2.url), RemoteSpec(url, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            services.run(PullRequest(ref=ref, excluded_subdirs=("buildroot",)), quiet())
            assert [row.excluded for row in services.listing.list()] == [("buildroot",)]
            built2.check_extract(ref, services.run(ExtractRequest(ref=ref), quiet()).path)
            with pytest.raises(PartialArtifact, match="buildroot"):
                services.run(PushRequest(refs=(ref,)), quiet())
            assert services.run(PullRequest(ref=ref), quiet()).pulled
            assert [row.excluded for row in services.listing.list()] == [()]
            assert services.run(PushRequest(refs=(ref,)), quiet()).pushed
        user = BuildStream(str(tmp_path / "user"), built2.empty, {"url": url, "push": True})
        user.run("--pull-buildtrees", "artifact", "pull", ref)
        assert listing(user.checkout(ref, f"{tmp_path}/out")) == built2.files["base.bst"]
        # It pushes nothing of which a part is not here: the build root came along, and all of it is there.
        assert user.queue("Push", user.run("artifact", "push", ref)) == (0, 1, 0)


def test_an_artifact_goes_with_all_it_references(built2, tmp_path, valkey):
    with fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(built2.url),)) as services:
        for ref in built2.messages:
            services.run(PullRequest(ref=ref), quiet())
        oracle = Oracle(services.layout.root)
        used = services.coordination.usage
        assert used.snapshot().used_bytes == oracle.used_bytes()
        assert services.run(CleanupRequest(target_bytes=0), quiet()).evicted_refs == len(built2.messages)
        assert list(oracle.names()) == []
        assert used.snapshot().used_bytes == oracle.used_bytes()


def test_a_key_that_nobody_pushed_is_a_miss(built2, tmp_path, valkey):
    with fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(built2.url),)) as services:
        missed = services.run(PullRequest(ref="interop/base/unknown"), quiet())
        assert (missed.pulled, missed.cached, missed.remote) == (False, False, None)
        assert services.listing.list() == []


def test_a_read_only_server_takes_nothing_and_hinders_nobody(built2, tmp_path, serving):
    with serving(tmp_path / "server", "--read-only") as url:
        for push in (True, False):
            home = str(tmp_path / f"user-{push}")
            user = BuildStream(home, built2.project, {"url": url, "push": push})
            said = user.run("build", *ELEMENTS)
            # BuildStream does not use at all what it may not push to but was told to.
            assert ("Failed to initialize remote" in said) is push
            assert set(user.states().values()) == {"cached"}
    assert os.listdir(f"{tmp_path}/server/cache/cas/refs/heads") == []
