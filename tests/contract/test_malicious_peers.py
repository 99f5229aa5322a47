"""The trees of harness.malicious as a lying remote answers them, and as a hostile client names them.

Whatever comes, it is refused by an error of ours or contained, and nothing is written outside (I1, AC-80).
"""

from __future__ import annotations

import os
import time

import grpc
import pytest
from harness.coordination import fake_coordination
from harness.lying_server import LyingServer
from harness.malicious import CONTAINED, REFUSED, Lair
from harness.services import SMALL_CACHE
from harness.serving import message, open_services, refusal, serving, upload_name
from harness.snapshots import assert_only_objects, layout_of, snapshot
from harness.trees import listing
from harness.valkey import ValkeyServer
from harness.volumes import new_volume

from caskeeper.artifact import Ref
from caskeeper.config import Settings
from caskeeper.config.remotes import RemoteSpec
from caskeeper.contract import ExtractRequest, PullRequest
from caskeeper.digest import Digest
from caskeeper.errors import DigestMismatch, InvalidRequest
from worker._protos import bytestream_pb2 as stream
from worker.protocols import quiet
from worker.remote.pool import RemotePool
from worker.wiring import wire

CODE = grpc.StatusCode
REF = "demo/evil/key"


@pytest.fixture
def lair(tmp_path):
    return Lair.beside(tmp_path)


# -- a remote that answers them ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liar():
    with LyingServer() as server:
        yield server


@pytest.fixture
def services(tmp_path, liar):
    volume = new_volume(tmp_path)
    settings = Settings(
        cachedir=volume.layout.root,
        roots=(str(tmp_path),),
        cache=SMALL_CACHE,
        artifacts=(RemoteSpec(liar.url, index="reference-storage"),),
        source="test.yaml",
    )
    made = wire(settings, volume, fake_coordination(), RemotePool())
    yield made
    made.close()


def offer(liar, lair, root):
    liar.blobs, liar.refs = dict(lair.blobs), {REF: root}


def pull_or_miss(services):
    """A tree whose blobs the remote does not have is a miss: the same to whoever waits for an error."""
    if not services.run(PullRequest(ref=REF), quiet()).pulled:
        raise DigestMismatch("the remote lacks what its tree names")


@pytest.mark.parametrize("case", REFUSED)
def test_a_remote_that_answers_it_is_refused(case, lair, liar, services, tmp_path):
    offer(liar, lair, REFUSED[case](lair))
    before = snapshot(str(tmp_path), without=(services.layout.root,))
    with pytest.raises((InvalidRequest, DigestMismatch)):
        pull_or_miss(services)
    assert not os.path.lexists(services.layout.ref(Ref.parse(REF)))
    assert snapshot(str(tmp_path), without=(services.layout.root,)) == before
    assert_only_objects(services.layout.objects)
    assert not os.listdir(services.layout.staging)


@pytest.mark.parametrize("case", CONTAINED)
def test_what_is_odd_and_legal_is_pulled_and_laid_out_as_it_is(case, lair, liar, services, tmp_path):
    root = CONTAINED[case](lair)
    offer(liar, lair, root)
    copy = str(tmp_path / "copy")
    before = snapshot(str(tmp_path), without=(services.layout.root, copy))
    assert services.run(PullRequest(ref=REF), quiet()).pulled
    assert listing(services.run(ExtractRequest(ref=REF, destination=copy), quiet()).path) == layout_of(
        root, lair.blobs
    )
    assert snapshot(str(tmp_path), without=(services.layout.root, copy)) == before


# -- a client that names them ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One server for all: what one client was refused may not help another."""
    with ValkeyServer() as valkey:
        made = open_services(tmp_path_factory.mktemp("server"), valkey.url)
        with serving(made) as peer:
            yield made, peer
        made.close()


def upload_all(peer, lair):
    """Every honest blob; a lie cannot be uploaded, which is what stops it."""
    for hash_hex, data in lair.blobs.items():
        digest = Digest(hash_hex, len(data))
        request = stream.WriteRequest(resource_name=upload_name(digest), data=data, finish_write=True)
        if Digest.of(data) == digest:
            peer.write(request)
        else:
            assert refusal(peer.write, request) is CODE.FAILED_PRECONDITION


@pytest.mark.parametrize("case", REFUSED)
def test_a_client_that_names_it_is_refused(case, lair, served):
    services, peer = served
    root = REFUSED[case](lair)
    upload_all(peer, lair)
    key = f"demo/evil/{time.monotonic_ns()}"
    before = snapshot(services.layout.root, without=(services.layout.objects,))
    assert refusal(peer.update, root, key) in {CODE.INVALID_ARGUMENT, CODE.FAILED_PRECONDITION}
    assert refusal(peer.resolve, key) is CODE.NOT_FOUND
    assert snapshot(services.layout.root, without=(services.layout.objects,)).keys() == before.keys()
    assert_only_objects(services.layout.objects)


@pytest.mark.parametrize("case", CONTAINED)
def test_what_is_odd_and_legal_is_bound_and_answered_with_its_own_bytes(case, lair, served):
    _services, peer = served
    root = CONTAINED[case](lair)
    upload_all(peer, lair)
    key = f"demo/odd/{time.monotonic_ns()}"
    peer.update(root, key)
    assert peer.resolve(key) == root
    assert peer.read(f"blobs/{message(root).hash}/{root.size_bytes}") == lair.blobs[root.hash]
