"""BuildStream 1.6 and caskeeper share artifacts, through the server and through a cache folder."""

import os
import subprocess
import time

import pytest
from harness.bst1 import BuildStream
from harness.buildstream import ELEMENTS, below
from harness.fleet import Oracle, fleet
from harness.reference_servers import old_server
from harness.trees import listing

from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import CleanupRequest, CommitRequest, ExtractRequest, PullRequest, PushRequest
from worker.protocols import quiet
from worker.store.refs import Refs


def check_files(built, element, folder):
    """An extracted artifact holds what BuildStream checks out, and its metadata."""
    tree = listing(folder)
    assert below(tree, "files") == built.files[element]
    assert any(path.startswith("meta/") for path in tree)
    assert any(path.startswith("logs/") for path in tree)


def test_the_project_holds_every_kind_of_entry(built):
    tree = built.files["base.bst"]
    assert tree["bin/hello"][1] is True
    assert tree["etc/settings"][1] is False
    assert tree["etc/link"] == "../share/été"
    assert tree["etc/dangling"] == "no/such/file"
    assert tree["etc/empty/deep"] is None
    assert len(tree["share/large"][0]) > 4 * 2**20


def test_a_build_is_pushed_pulled_after_a_wipe_and_checked_out_identical(built, tmp_path):
    user = built.user
    assert user.queue("Push", built.said) == (3, 0, 0)
    user.wipe()
    assert set(user.states().values()) == {"buildable", "waiting"}
    assert user.queue("Pull", user.run("pull", *ELEMENTS)) == (3, 0, 0)
    assert set(user.states().values()) == {"cached"}
    for element in ELEMENTS:
        assert listing(user.checkout(element, f"{tmp_path}/{ELEMENTS[element]}")) == built.files[element]


def test_an_explicit_push_finds_everything_there(built):
    assert built.user.queue("Push", built.user.run("push", *ELEMENTS)) == (0, 3, 0)


def test_our_workers_pull_and_extract_what_buildstream_pushed(built, tmp_path, valkey):
    remote = RemoteSpec(built.url)
    (tmp_path / "copy").mkdir()
    with fleet(tmp_path, valkey.url, artifacts=(remote,)) as services:
        for element, ref in built.refs.items():
            pulled = services.run(PullRequest(ref=ref), quiet())
            assert pulled.pulled
            assert pulled.remote == built.url
            shared = services.run(ExtractRequest(ref=ref), quiet())
            check_files(built, element, shared.path)
            copy = services.run(
                ExtractRequest(ref=ref, destination=f"{tmp_path}/copy/{ELEMENTS[element]}"), quiet()
            )
            check_files(built, element, copy.path)
        assert Oracle(services.layout.root).troubles() == []


def test_the_command_pulls_and_extracts_what_buildstream_pushed(built, tmp_path, caskeeper):
    (tmp_path / "copy").mkdir()
    own = {"CASKEEPER_CACHEDIR": str(tmp_path / "cache")}
    try:
        for element, ref in built.refs.items():
            pulled = caskeeper(tmp_path, "pull", ref, "--remote", f"url={built.url}", **own)
            assert pulled["results"][0]["remote"] == built.url
            copy = f"{tmp_path}/copy/{ELEMENTS[element]}"
            assert caskeeper(tmp_path, "extract", ref, "--to", copy, **own)["path"] == copy
            check_files(built, element, copy)
    finally:
        caskeeper(tmp_path, "down", **own)


def test_what_we_commit_is_what_buildstream_commits_and_pulls(built, tmp_path, valkey, serving):
    (tmp_path / "copy").mkdir()
    with serving(tmp_path / "server") as url:
        remotes = (RemoteSpec(built.url), RemoteSpec(url, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            for element, ref in built.refs.items():
                services.run(PullRequest(ref=ref), quiet())
                copy = f"{tmp_path}/copy/{ELEMENTS[element]}"
                services.run(ExtractRequest(ref=ref, destination=copy), quiet())
                ours = f"{ref.rpartition('/')[0]}/ours"
                services.run(CommitRequest(path=copy, refs=(ours,)), quiet())
                refs = Refs(services.volume)
                named = [entry.record.root for entry in refs.listing() if str(entry.ref) in {ref, ours}]
                assert named[0] == named[1]
                assert services.run(PushRequest(refs=(ref,)), quiet()).pushed
        user = BuildStream(str(tmp_path / "user"), built.project, url=url)
        assert user.queue("Pull", user.run("pull", *ELEMENTS)) == (3, 0, 0)
        for element in ELEMENTS:
            checked_out = listing(user.checkout(element, f"{tmp_path}/out/{ELEMENTS[element]}"))
            assert checked_out == built.files[element]


def test_what_we_pass_on_to_the_server_of_1_6_is_what_buildstream_pulls(built, tmp_path, valkey):
    with old_server(f"{tmp_path}/server") as url:
        remotes = (RemoteSpec(built.url), RemoteSpec(url, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            for ref in built.refs.values():
                services.run(PullRequest(ref=ref), quiet())
                assert services.run(PushRequest(refs=(ref,)), quiet()).pushed
        user = BuildStream(str(tmp_path / "user"), built.project, url=url)
        assert user.queue("Pull", user.run("pull", *ELEMENTS)) == (3, 0, 0)
        for element in ELEMENTS:
            files = listing(user.checkout(element, f"{tmp_path}/out/{ELEMENTS[element]}"))
            assert files == built.files[element]


def test_a_read_only_server_takes_nothing_and_hinders_nobody(built, tmp_path, serving):
    with serving(tmp_path / "server", "--read-only", "--index", built.index) as url:
        user = BuildStream(str(tmp_path / "user"), built.project, url=url, push=True)
        said = user.run("build", *ELEMENTS)
        assert "does not allow push" in said
        assert set(user.states().values()) == {"cached"}


@pytest.mark.parametrize("index", ["reference-storage", "remote-asset", "action-cache", "auto"])
def test_what_buildstream_pushed_is_the_same_ref_in_every_index(every_index, tmp_path, valkey, index):
    url, built = every_index
    with fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(url, index=index),)) as services:
        for element, ref in built.refs.items():
            assert services.run(PullRequest(ref=ref), quiet()).pulled
            check_files(built, element, services.run(ExtractRequest(ref=ref), quiet()).path)


@pytest.fixture(scope="module")
def every_index(built, tmp_path_factory, serving):
    """A server that offers every index, and what BuildStream pushed there."""
    folder = tmp_path_factory.mktemp("every-index")
    with serving(folder / "server") as url:
        user = BuildStream(str(folder / "user"), built.project, url=url)
        subprocess.run(["cp", "-a", built.old_cache, user.cache], check=True)
        assert user.queue("Push", user.run("push", *ELEMENTS)) == (3, 0, 0)
        yield url, built


@pytest.fixture
def old_cache(built, tmp_path):
    """Where a fleet in ``tmp_path`` has its volume: BuildStream's cache folder lies there."""
    folder = str(tmp_path / "cache")
    subprocess.run(["cp", "-a", built.old_cache, folder], check=True)
    shared = [path for path in files_below(f"{folder}/cas/objects") if os.stat(path).st_nlink > 1]
    assert shared, "BuildStream's extracts share inodes with its objects"
    return folder


def files_below(top):
    return [f"{folder}/{name}" for folder, _folders, files in os.walk(top) for name in files]


def test_a_cache_folder_of_buildstream_lists_extracts_pushes_and_cleans(
    built, old_cache, tmp_path, valkey, serving
):
    oracle = Oracle(old_cache)
    refs = set(oracle.refs())
    assert refs >= set(built.refs.values())
    with serving(tmp_path / "server") as url:
        remotes = (RemoteSpec(url, push=True),)
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            usage = services.coordination.usage
            assert services.layout.root == old_cache
            assert {row.ref for row in services.listing.list()} == refs
            assert usage.snapshot().used_bytes == oracle.used_bytes()
            for element, ref in built.refs.items():
                check_files(built, element, services.run(ExtractRequest(ref=ref), quiet()).path)
                assert services.run(PushRequest(refs=(ref,)), quiet()).pushed
            assert oracle.troubles() == []
            time.sleep(0.05)  # a tick of the volume's clock: what was read just now is young
            assert services.run(CleanupRequest(target_bytes=0), quiet()).evicted_refs == len(refs)
            assert list(oracle.refs()) == []
            assert usage.snapshot().used_bytes == oracle.used_bytes()
            assert files_below(f"{old_cache}/cas/objects") == []
        user = BuildStream(str(tmp_path / "user"), built.project, url=url)
        assert user.queue("Pull", user.run("pull", *ELEMENTS)) == (3, 0, 0)
        for element in ELEMENTS:
            files = listing(user.checkout(element, f"{tmp_path}/out/{ELEMENTS[element]}"))
            assert files == built.files[element]
