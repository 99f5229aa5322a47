"""A damaged object is never an answer of its own: it is taken away, and what clients hear fits (R11, I10)."""

import os

import grpc
import pytest
from harness.damage import WRONG, flip, truncate
from harness.fleet import Oracle
from harness.serving import entry, make_old, message, refusal, serving, settled, small_tree, upload_name

from caskeeper.contract import CleanupRequest
from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as stream
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import quiet

Code = grpc.StatusCode
CONTENT = bytes(range(256)) * 8
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def stored(services, peer):
    """The place of an object that a client has uploaded."""
    peer.upload(CONTENT)
    return services.layout.object(DIGEST.hash)


def write_requests(digest=DIGEST, content=CONTENT):
    name = upload_name(digest)
    return [stream.WriteRequest(resource_name=name, write_offset=0, finish_write=True, data=content)]


def kept(services):
    folder = services.layout.damaged
    return os.listdir(folder) if os.path.isdir(folder) else []


SHORT = sorted(set(WRONG) - {"flipped"})


@pytest.mark.parametrize("harm", SHORT)
def test_what_is_not_as_long_as_it_should_be_is_missing_and_can_be_uploaded_again(
    services, peer, stored, harm
):
    WRONG[harm](stored)
    assert peer.missing(DIGEST) == [DIGEST]
    assert not os.path.lexists(stored)
    peer.upload(CONTENT)
    assert peer.missing(DIGEST) == []
    assert peer.read(f"blobs/{DIGEST}") == CONTENT
    assert Oracle(services.layout.root).troubles() == []


def test_an_upload_in_a_batch_takes_the_place_of_what_is_damaged(services, peer, stored):
    truncate(stored)
    other = b"an entry beside it"
    assert peer.upload(CONTENT, other) == [DIGEST, Digest.of(other)]
    assert peer.read(f"blobs/{DIGEST}") == CONTENT
    assert kept(services) == [DIGEST.hash]


def test_an_upload_as_a_stream_takes_the_place_of_what_is_damaged(services, peer, stored):
    truncate(stored)
    assert peer.write(*write_requests()) == DIGEST.size_bytes
    assert peer.read(f"blobs/{DIGEST}") == CONTENT
    assert Oracle(services.layout.root).troubles() == []


def test_the_status_of_an_upload_of_what_is_damaged_is_to_start_over(peer, stored):
    truncate(stored)
    request = stream.QueryWriteStatusRequest(resource_name=upload_name(DIGEST))
    assert refusal(peer.bytestream.QueryWriteStatus, request) is Code.NOT_FOUND


def test_a_batch_read_of_it_is_a_loss_until_it_is_taken_away_and_then_a_miss(services, peer, stored):
    flip(stored)
    request = reapi.BatchReadBlobsRequest(digests=[message(DIGEST)])

    def code():
        (found,) = peer.cas.BatchReadBlobs(request).responses
        return found.status.code

    assert code() == Code.DATA_LOSS.value[0]
    settled(lambda: not os.path.exists(stored))
    assert code() == Code.NOT_FOUND.value[0]
    assert peer.missing(DIGEST) == [DIGEST]
    assert kept(services) == [DIGEST.hash]


def test_a_stream_of_a_short_one_is_a_loss(peer, stored):
    truncate(stored)
    assert refusal(peer.read, f"blobs/{DIGEST}") is Code.DATA_LOSS
    settled(lambda: not os.path.exists(stored))
    assert refusal(peer.read, f"blobs/{DIGEST}") is Code.NOT_FOUND


def test_a_client_that_could_not_use_the_bytes_and_asks_again_has_them_taken_away(peer, stored):
    """A stream is not hashed each time; whoever reads the same blob again may have a reason."""
    flip(stored)
    assert peer.read(f"blobs/{DIGEST}") != CONTENT
    assert refusal(peer.read, f"blobs/{DIGEST}") is Code.DATA_LOSS
    settled(lambda: not os.path.exists(stored))
    peer.upload(CONTENT)
    assert peer.read(f"blobs/{DIGEST}") == peer.read(f"blobs/{DIGEST}") == CONTENT


def test_a_tree_with_a_damaged_directory_is_a_loss_and_not_a_gap(services, peer):
    root, blobs = small_tree()
    peer.upload(*blobs)
    folder = Digest.of(blobs[2])
    flip(services.layout.object(folder.hash))
    request = reapi.GetTreeRequest(root_digest=message(root))
    assert refusal(lambda: list(peer.cas.GetTree(request))) is Code.DATA_LOSS
    settled(lambda: not os.path.exists(services.layout.object(folder.hash)))
    assert peer.missing(folder) == [folder]


def test_a_reference_to_a_damaged_tree_is_mended_by_its_client(services, peer):
    root, blobs = small_tree()
    peer.upload(*blobs)
    peer.update(root, "demo/hello/1")
    readme = Digest.of(blobs[1])
    truncate(services.layout.object(readme.hash))
    assert refusal(peer.resolve, "demo/hello/1") is Code.DATA_LOSS
    settled(lambda: not os.path.exists(services.layout.object(readme.hash)))
    assert refusal(peer.resolve, "demo/hello/1") is Code.NOT_FOUND
    assert peer.missing(*map(Digest.of, blobs)) == [readme]
    peer.upload(blobs[1])
    assert peer.resolve("demo/hello/1") == root


def test_a_name_is_not_bound_to_a_tree_with_a_damaged_part(services, peer):
    root, blobs = small_tree()
    peer.upload(*blobs)
    truncate(services.layout.object(Digest.of(blobs[1]).hash))
    assert refusal(peer.update, root, "demo/hello/1") is Code.ABORTED
    settled(lambda: not os.path.exists(services.layout.object(Digest.of(blobs[1]).hash)))
    assert refusal(peer.update, root, "demo/hello/1") is Code.FAILED_PRECONDITION
    peer.upload(blobs[1])
    peer.update(root, "demo/hello/1")
    assert peer.resolve("demo/hello/1") == root


def test_a_ref_of_what_nobody_uploads_again_goes_with_the_next_cleanup(services, peer):
    root, blobs = small_tree()
    peer.upload(*blobs)
    peer.update(root, "demo/hello/1")
    readme = Digest.of(blobs[1])
    truncate(services.layout.object(readme.hash))
    assert peer.missing(readme) == [readme]
    services.run(CleanupRequest(target_bytes=1 << 40), quiet())
    assert [line.ref for line in services.listing.list()] == ["demo/hello/1"]  # its client may still come
    for name in os.listdir(services.layout.damaged):
        make_old(f"{services.layout.damaged}/{name}")
    services.run(CleanupRequest(target_bytes=1 << 40), quiet())
    assert services.listing.list() == []


def test_another_size_than_the_object_has_is_the_clients_fault_and_costs_one_look(
    services, peer, stored, monkeypatch
):
    """The file is hashed once, whatever is claimed, and stays."""
    hashed = []
    real = os.readv
    monkeypatch.setattr(os, "readv", lambda fd, views: hashed.append(fd) or real(fd, views))
    claims = [Digest(DIGEST.hash, size) for size in range(1, 2000) if size != DIGEST.size_bytes]
    assert peer.missing(*claims) == claims
    assert peer.missing(*claims, DIGEST) == claims
    assert len(hashed) == 2  # its bytes, and their end
    assert os.path.exists(stored)
    assert kept(services) == []


def test_a_damaged_object_of_many_sizes_is_one_object(peer, stored):
    truncate(stored)
    claims = [Digest(DIGEST.hash, size) for size in range(1, 500)]
    assert peer.missing(*claims) == claims


def test_a_read_only_server_takes_it_away_too(services, peer, stored):
    flip(stored)
    with serving(services, read_only=True) as reader:
        for _time in range(2):
            reader.cas.BatchReadBlobs(reapi.BatchReadBlobsRequest(digests=[message(DIGEST)]))
        settled(lambda: not os.path.exists(stored))
    assert kept(services) == [DIGEST.hash]


def test_uploads_beside_a_damaged_one_keep_their_own_answers(peer, stored):
    truncate(stored)
    wrong = entry(Digest.of(b"one thing"), b"other one")
    answer = peer.cas.BatchUpdateBlobs(
        reapi.BatchUpdateBlobsRequest(requests=[entry(DIGEST, CONTENT), wrong])
    )
    assert [found.status.code for found in answer.responses] == [0, Code.FAILED_PRECONDITION.value[0]]
