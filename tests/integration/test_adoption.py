"""A cache folder in the layout of BuildStream 1.x, made here by hand, becomes a volume (D-2, D-10)."""

import hashlib
import os
import time
from contextlib import contextmanager

import pytest
from harness.fleet import Oracle, fleet
from harness.old_cache import FILES, OldCache, artifact, as_listed
from harness.trees import listing

from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import CleanupRequest, ExtractRequest, PullRequest, PushRequest
from caskeeper.errors import PartialArtifact
from worker.protocols import quiet
from worker.server.app import serve

WHOLE = "interop/app/aaaa"
SAME = "interop/app/bbbb"
PARTIAL = "interop/lib/cccc"

#: Longer than a tick of the volume's clock: what was read just now is young, and stays.
TICK_S = 0.05


@pytest.fixture
def old(tmp_path):
    """Two refs of one whole artifact, and one pulled without its build tree (AC-74)."""
    cache = OldCache(f"{tmp_path}/cache")
    root = cache.add_tree(artifact("app"))
    cache.name(WHOLE, root, age_s=10)
    cache.name(SAME, root, age_s=20)
    cache.extract(WHOLE, root, artifact("app"))
    partial = cache.add_tree(artifact("lib"), mode=0o600)
    cache.name(PARTIAL, partial, age_s=30)
    build_tree = artifact("lib")["buildtree"]
    for tree in (build_tree, build_tree["src"]):
        directory = OldCache(f"{tmp_path}/other-{len(tree)}{'src' in tree}").add_tree(tree)
        os.unlink(cache.path(directory.hash))
    os.unlink(cache.path(hashlib.sha256(build_tree["src"]["main.c"][0]).hexdigest()))
    return cache


@contextmanager
def server(tmp_path, valkey):
    """The URL of a server over a volume of its own, at ``server/cache``."""
    with fleet(f"{tmp_path}/server", f"{valkey.url}?db=1") as services:
        running = serve(services, listen="127.0.0.1:0")
        try:
            yield f"http://{running.address}"
        finally:
            running.stop(0)


def without_build_tree(name):
    return as_listed({part: tree for part, tree in artifact(name).items() if part != "buildtree"})


def extracted(services, ref):
    return listing(services.run(ExtractRequest(ref=ref), quiet()).path)


def test_it_lists_least_recently_used_first_and_says_what_is_not_here(old, tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        assert services.layout.root == old.root
        rows = [(row.ref, row.excluded) for row in services.listing.list(sizes=True) if row.size_bytes]
        assert rows == [(PARTIAL, ("buildtree",)), (SAME, ()), (WHOLE, ())]
        shown = services.listing.show(Ref.parse(PARTIAL))
        assert (shown.complete, shown.excluded) == (True, ("buildtree",))
        assert not services.listing.contains(Ref.parse(PARTIAL), "buildtree")
        assert services.listing.contains(Ref.parse(PARTIAL), "files/share")
        assert services.listing.contains(Ref.parse(WHOLE), "buildtree/src")


def test_it_extracts_whole_and_partial_artifacts(old, tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        assert extracted(services, WHOLE) == as_listed(artifact("app"))
        assert extracted(services, PARTIAL) == without_build_tree("lib")
        assert Oracle(old.root).troubles() == []


def test_what_was_shared_with_an_old_extract_is_shared_no_more(old, tmp_path, valkey):
    hello = old.path(hashlib.sha256(FILES["bin"]["hello"][0]).hexdigest())
    os.link(hello, tmp_path / "checkout")
    with fleet(tmp_path, valkey.url) as services:
        (tmp_path / "checkout").write_bytes(b"changed in a checkout")
        assert extracted(services, WHOLE)["files/bin/hello"] == FILES["bin"]["hello"]
        assert Oracle(old.root).troubles() == []
        assert not os.path.exists(f"{old.root}/cache_size")
        assert Oracle(old.root).leavings() == []


def test_it_pushes_what_is_whole_and_refuses_what_is_not(old, tmp_path, valkey):
    with server(tmp_path, valkey) as url:
        remotes = (RemoteSpec(url, push=True),)
        with fleet(tmp_path, valkey.url, artifacts=remotes) as services:
            assert services.run(PushRequest(refs=(WHOLE, SAME)), quiet()).pushed
            with pytest.raises(PartialArtifact):
                services.run(PushRequest(refs=(PARTIAL,)), quiet())
            services.run(CleanupRequest(target_bytes=0), quiet())
            assert services.run(PullRequest(ref=SAME), quiet()).remote == url
            assert extracted(services, SAME) == as_listed(artifact("app"))


def test_a_partial_artifact_becomes_whole_by_a_pull(old, tmp_path, valkey):
    whole = OldCache(f"{tmp_path}/server/cache")
    whole.name(PARTIAL, whole.add_tree(artifact("lib")), age_s=0)
    with (
        server(tmp_path, valkey) as url,
        fleet(tmp_path, valkey.url, artifacts=(RemoteSpec(url),)) as services,
    ):
        pulled = services.run(PullRequest(ref=PARTIAL), quiet())
        assert (pulled.pulled, pulled.blobs) == (True, 3)
        assert extracted(services, PARTIAL) == as_listed(artifact("lib"))


def test_d2_it_cleans_in_spite_of_a_partial_artifact(old, tmp_path, valkey):
    oracle = Oracle(old.root)
    with fleet(tmp_path, valkey.url) as services:
        usage = services.coordination.usage
        assert usage.snapshot().used_bytes == oracle.used_bytes()
        before = oracle.used_bytes()
        first = services.run(CleanupRequest(target_bytes=before - 1), quiet())
        assert [group.refs for group in first.groups if group.action == "evict"] == [(PARTIAL,)]
        assert sorted(oracle.refs()) == [WHOLE, SAME]
        assert extracted(services, WHOLE) == as_listed(artifact("app"))
        time.sleep(TICK_S)
        assert services.run(CleanupRequest(target_bytes=0), quiet()).evicted_refs == 2
        assert list(oracle.refs()) == []
        assert usage.snapshot().used_bytes == oracle.used_bytes()
        objects = [files for _folder, _folders, files in os.walk(oracle.objects) if files]
        assert objects == []
