"""Our workers and the artifact servers that come with BuildStream 1.6 and 2.8."""

import pytest
from harness.bst2 import BuildStream
from harness.fleet import Oracle, fleet
from harness.reference_servers import new_server, old_server
from harness.trees import listing, write_spec_tree

from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import (
    CommitRequest,
    ExtractRequest,
    LinkRequest,
    PullRequest,
    PushRequest,
    RemotesCheckRequest,
)
from caskeeper.errors import PermissionDenied
from worker.protocols import quiet

REF = "demo/tree/1"


@pytest.fixture
def tree(tmp_path):
    """A plain tree to commit, with a file that is streamed."""
    (tmp_path / "tree").mkdir()
    write_spec_tree(tmp_path / "tree")
    (tmp_path / "tree" / "files" / "large").write_bytes(bytes(range(256)) * 24_000)
    return str(tmp_path / "tree")


def push(services, ref=REF):
    (outcome,) = services.run(PushRequest(refs=(ref,)), quiet()).remotes
    return outcome.outcome


def push_tree(folder, url, tree, *remotes):
    """Commit the tree, push it, and push it again for nothing."""
    with fleet(folder, url, artifacts=remotes) as services:
        services.run(CommitRequest(path=tree, refs=(REF,)), quiet())
        assert push(services) == "pushed"
        assert push(services) == "already-there"


def pull_tree(folder, url, tree, *remotes):
    """Another fleet gets the same."""
    folder.mkdir()
    with fleet(folder, f"{url}?db=1", artifacts=remotes) as services:
        assert services.run(PullRequest(ref=REF), quiet()).pulled
        assert listing(services.run(ExtractRequest(ref=REF), quiet()).path) == listing(tree)
        assert Oracle(services.layout.root).troubles() == []


def check_only_gives(folder, url, remote, *, reason):
    """The remote is used for fetching only, and says why."""
    folder.mkdir()
    with fleet(folder, f"{url}?db=2", artifacts=(remote,)) as services:
        assert services.run(PullRequest(ref=REF), quiet()).pulled
        (health,) = services.run(RemotesCheckRequest(), quiet()).remotes
        assert (health.usable, health.fetch, health.push) == (True, True, False)
        assert reason in health.reason
        services.run(LinkRequest(ref=REF, key="other"), quiet())
        with pytest.raises(PermissionDenied, match="does not allow push"):
            push(services, "demo/tree/other")


def test_the_server_of_1_6_takes_and_gives(tmp_path, valkey, tree, bst1_installed):
    with old_server(f"{tmp_path}/server") as url:
        push_tree(tmp_path, valkey.url, tree, RemoteSpec(url, push=True))
        pull_tree(tmp_path / "other", valkey.url, tree, RemoteSpec(url))
    with old_server(f"{tmp_path}/server", push=False) as url:
        remote = RemoteSpec(url, push=True)
        check_only_gives(tmp_path / "third", valkey.url, remote, reason="does not allow push")


def test_the_server_of_2_8_takes_and_gives(built2, tmp_path, valkey, tree):
    with new_server(f"{tmp_path}/server") as url:
        push_tree(tmp_path, valkey.url, tree, RemoteSpec(url, push=True))
        pull_tree(tmp_path / "other", valkey.url, tree, RemoteSpec(url))
    with new_server(f"{tmp_path}/server", push=False) as url:
        remote = RemoteSpec(url, push=True)
        check_only_gives(tmp_path / "third", valkey.url, remote, reason="Push")


def test_names_in_an_index_only_server_of_2_8_and_content_in_ours(built2, tmp_path, valkey, serving, tree):
    index_only = new_server(f"{tmp_path}/index", index_only=True)
    with index_only as index, serving(tmp_path / "storage") as storage:
        remotes = (RemoteSpec(built2.url), RemoteSpec(index, push=True, type="index"))
        remotes += (RemoteSpec(storage, push=True, type="storage"),)
        push_tree(tmp_path, valkey.url, tree, *remotes)
        pull_tree(tmp_path / "other", valkey.url, tree, *remotes[1:])
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            for ref in built2.refs.values():
                services.run(PullRequest(ref=ref), quiet())
                assert push(services, ref) == "pushed"
        servers = ({"url": index, "type": "index"}, {"url": storage, "type": "storage"})
        user = BuildStream(str(tmp_path / "user"), built2.empty, *servers)
        built2.check_pulled_by(user, f"{tmp_path}/out")
