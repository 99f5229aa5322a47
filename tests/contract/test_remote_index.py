"""worker.remote as a RefIndex over ReferenceStorage, its permission to push, and forked processes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from harness.lying_server import LyingServer
from harness.remotes import ABSENT, HURRY, SMALL, Code, remotes

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, InvalidRequest, NoSpace, PermissionDenied, RemoteUnavailable
from worker.protocols import Published

REF = Ref.parse("demo/hello/aaaa")
WEAK = Ref.parse("demo/hello/bbbb")
ROOT = Published((Digest.of(b"a root"),))


def no_tree():
    raise AssertionError("this index needs no Tree")


@pytest.fixture
def server():
    with LyingServer(SMALL) as running:
        yield running


@pytest.fixture
def opened():
    with remotes() as make:
        yield make


def test_every_published_name_resolves_to_the_root(server, opened):
    index = opened(server.url).index
    index.publish([REF, WEAK], ROOT, tree=no_tree)
    assert server.refs == {"demo/hello/aaaa": ROOT.root, "demo/hello/bbbb": ROOT.root}
    assert index.resolve(REF) == index.resolve(WEAK) == ROOT


def test_an_unknown_name_is_a_miss(server, opened):
    assert opened(server.url).index.resolve(REF) is None


def test_publishing_no_name_does_nothing(server, opened):
    opened(server.url).index.publish([], ROOT, tree=no_tree)
    assert not server.refs


@pytest.mark.parametrize("published", [ROOT._replace(kind=1), Published((ROOT.root, ABSENT))])
def test_what_is_no_single_tree_cannot_be_named(server, opened, published):
    with pytest.raises(InvalidRequest):
        opened(server.url).index.publish([REF], published, tree=no_tree)
    assert not server.refs


@pytest.mark.parametrize(
    "digest", [Digest("", 0), Digest("x" * 64, 1), Digest("a" * 63, 1), Digest("a" * 64, -1)]
)
def test_an_answer_that_is_no_digest_is_trouble_and_not_a_miss(server, opened, digest):
    server.refs[str(REF)] = digest
    with pytest.raises(RemoteUnavailable, match="no digest"):
        opened(server.url).index.resolve(REF)


@pytest.mark.parametrize("code", [Code.INTERNAL, Code.UNKNOWN, Code.RESOURCE_EXHAUSTED])
def test_trouble_while_resolving_is_not_a_miss(server, opened, code):
    server.answers["GetReference"] = code
    with pytest.raises(RemoteUnavailable):
        opened(server.url).index.resolve(REF)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.RESOURCE_EXHAUSTED, NoSpace),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.FAILED_PRECONDITION, RemoteUnavailable),
        (Code.NOT_FOUND, RemoteUnavailable),
    ],
)
def test_a_name_that_is_refused_says_why(server, opened, code, error):
    server.answers["UpdateReference"] = code
    with pytest.raises(error):
        opened(server.url).index.publish([REF], ROOT, tree=no_tree)


def test_the_instance_name_is_in_every_request(server, opened):
    index = opened(server.url, instance_name="main").index
    index.publish([REF], ROOT, tree=no_tree)
    index.resolve(REF)
    assert {request.instance_name for _name, request in server.calls} == {"main"}


def test_a_server_without_the_service_serves_blobs_but_no_names(server, opened):
    server.answers["Status"] = Code.UNIMPLEMENTED
    remote = opened(server.url, push=True)
    assert remote.blobs.find_missing([ABSENT]) == {ABSENT}
    assert not remote.writable
    for use in (lambda: remote.index.resolve(REF), lambda: remote.index.publish([REF], ROOT, tree=no_tree)):
        with pytest.raises(ConfigInvalid, match="ReferenceStorage"):
            use()


# Permission to push (D-15).


def test_a_remote_is_writable_when_configured_and_allowed(server, opened):
    assert opened(server.url, push=True).writable
    assert not opened(server.url).writable


def test_a_server_that_allows_no_updates_is_still_read_from(server, opened):
    server.allow_updates = False
    server.answers["BatchUpdateBlobs"] = Code.PERMISSION_DENIED
    remote = opened(server.url, push=True)
    assert not remote.writable
    assert remote.push_refusal == "the server does not allow push"
    assert remote.blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]
    assert remote.index.resolve(REF) is None


@pytest.mark.parametrize("method", ["BatchUpdateBlobs", "Status"])
@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.UNAUTHENTICATED])
def test_refused_credentials_for_pushing_leave_fetching(server, opened, method, code):
    server.answers[method] = code
    remote = opened(server.url, push=True)
    assert not remote.writable
    assert method in remote.push_refusal
    assert remote.blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


def test_a_permission_given_later_is_noticed(server, opened):
    server.allow_updates = False
    remote = opened(server.url, HURRY._replace(negotiation_life_s=0.0), push=True)
    assert not remote.writable
    server.allow_updates = True
    assert remote.writable


def test_a_server_without_batch_updates_can_be_pushed_to(server, opened):
    server.answers["BatchUpdateBlobs"] = Code.UNIMPLEMENTED
    assert opened(server.url, push=True).writable


@pytest.mark.parametrize("method", ["GetCapabilities", "BatchReadBlobs"])
def test_refused_credentials_for_fetching_are_an_error(server, opened, method):
    server.answers[method] = Code.UNAUTHENTICATED
    with pytest.raises(PermissionDenied):
        opened(server.url, push=True).writable  # noqa: B018 -- the property contacts the server


# Forked processes (lessons B.1).

FORK = """
import os, sys
from caskeeper.artifact import Ref
from caskeeper.config.remotes import RemoteSpec
from worker.remote import RemotePool

spec, ref = RemoteSpec(sys.argv[1]), Ref.parse("demo/hello/aaaa")
pool = RemotePool()
parents = pool.get(spec)
if sys.argv[2] == "used":
    assert parents.index.resolve(ref) is None
child = os.fork()
if child == 0:
    try:
        assert pool.get(spec).index.resolve(ref) is None
        print("pool works", flush=True)
        parents.close()
        parents.index.resolve(ref)
        print("inherited works", flush=True)
    except RuntimeError as refused:
        print(f"inherited refused: {refused}", flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
assert parents.index.resolve(ref) is None
print("parent works")
"""


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_forked_child_uses_its_own_connections_only(server, used):
    run = subprocess.run(
        [sys.executable, "-P", "-c", FORK, server.url, used],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "pool works"
    assert lines[-1] == "parent works"
    if used == "used":
        assert "after a fork" in lines[1]
