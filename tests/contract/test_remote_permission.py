"""Whether a remote may be pushed to, and what is left of one that may not (D-15)."""

from __future__ import annotations

import pytest
from harness.remotes import ABSENT, HURRY, SMALL, Code

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid, PermissionDenied
from worker.protocols import Published

REF = Ref.parse("demo/hello/aaaa")
ROOT = Published((Digest.of(b"a root"),))


def no_tree():
    raise AssertionError("this index needs no Tree")


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


def test_a_server_without_the_service_serves_blobs_but_no_names(server, opened):
    server.answers["Status"] = Code.UNIMPLEMENTED
    remote = opened(server.url, push=True)
    assert remote.blobs.find_missing([ABSENT]) == {ABSENT}
    assert not remote.writable
    for use in (lambda: remote.index.resolve(REF), lambda: remote.index.publish([REF], ROOT, tree=no_tree)):
        with pytest.raises(ConfigInvalid, match="ReferenceStorage"):
            use()
