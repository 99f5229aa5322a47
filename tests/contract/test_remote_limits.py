"""worker.remote and what servers can take: limits, batches, old servers, instance names."""

from __future__ import annotations

import random

import pytest
from harness.lying_server import LyingServer
from harness.remotes import ABSENT, SMALL, Code

from caskeeper.digest import Digest
from caskeeper.errors import (
    ConfigInvalid,
)
from worker.protocols import CHUNK_BYTES
from worker.remote.batches import grouped


def test_a_server_without_capabilities_gets_the_defaults(server, opened):
    server.answers["GetCapabilities"] = Code.UNIMPLEMENTED
    blobs = opened(server.url).blobs
    assert CHUNK_BYTES - 4096 < blobs.batch_limit_bytes < CHUNK_BYTES
    assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]


def test_a_server_without_batches_gets_everything_as_streams(server, opened):
    server.answers = {"BatchReadBlobs": Code.UNIMPLEMENTED, "BatchUpdateBlobs": Code.UNIMPLEMENTED}
    blobs = opened(server.url).blobs
    assert blobs.batch_limit_bytes == 0
    assert blobs.read_batch([Digest.of(SMALL)]) == [(Digest.of(SMALL), SMALL)]
    blobs.write_batch([(Digest.of(b"new"), b"new")])
    assert server.blobs[Digest.of(b"new").hash] == b"new"
    assert (server.count("Read"), server.count("Write")) == (1, 1)


@pytest.mark.parametrize(("theirs", "at_most"), [(0, 2**20), (1, 0), (100_000, 100_000), (2**30, 2**20)])
def test_the_batch_limit_is_the_smaller_one(server, opened, theirs, at_most):
    server.batch_limit = theirs
    limit = opened(server.url).blobs.batch_limit_bytes
    assert limit <= at_most
    assert limit >= at_most - 4096


def test_batches_are_measured_as_they_are_sent(server, opened):
    server.batch_limit = server.enforced_limit = 50_000
    blobs = opened(server.url).blobs
    contents = [b"%d" % n for n in range(3000)] + [bytes(blobs.batch_limit_bytes)]
    digests = [Digest.of(content) for content in contents]
    blobs.write_batch(list(zip(digests, contents, strict=True)))
    assert blobs.read_batch(digests) == list(zip(digests, contents, strict=True))
    sizes = [request.ByteSize() for name, request in server.calls if name == "BatchUpdateBlobs"]
    assert max(sizes) <= 50_000
    assert len(sizes) < 20
    assert server.count("Write") == 0


def test_a_blob_at_the_limit_goes_in_a_batch_and_one_above_it_as_a_stream(server, opened):
    server.batch_limit = server.enforced_limit = 50_000
    blobs = opened(server.url).blobs
    for size, streamed in ((blobs.batch_limit_bytes - 1, 0), (blobs.batch_limit_bytes, 0)):
        blobs.write_batch([(Digest.of(bytes(size)), bytes(size))])
        assert server.count("Write") == streamed
    blobs.write_batch([(Digest.of(bytes(50_001)), bytes(50_001))])
    assert server.count("Write") == 1


def test_groups_keep_every_item_in_order():
    sizes = [random.Random(n).randrange(2000) for n in range(500)]
    groups = list(grouped(sizes, size_of=lambda size: size, message_bytes=4000))
    assert [size for group in groups for size in group] == sizes
    assert len(groups) > 1


def test_a_batch_over_a_limit_nobody_announced_is_split(server, blobs):
    server.enforced_limit = 5000
    contents = [random.Random(n).randbytes(900) for n in range(20)] + [bytes(6000)]
    digests = [Digest.of(content) for content in contents]
    blobs.write_batch(list(zip(digests, contents, strict=True)))
    assert blobs.read_batch(digests) == list(zip(digests, contents, strict=True))
    assert (server.count("Write"), server.count("Read")) == (1, 1)


def test_a_server_that_takes_smaller_messages_than_it_says_is_not_a_full_one(opened):
    small = LyingServer()
    small.message_limit = 20_000
    with small as server:
        blobs = opened(server.url).blobs
        contents = [random.Random(n).randbytes(9000) for n in range(10)]
        blobs.write_batch([(Digest.of(content), content) for content in contents])
        assert sorted(server.blobs.values()) == sorted(contents)


def test_a_server_of_another_hash_function_is_refused(server, opened):
    server.digest_functions = [9]
    with pytest.raises(ConfigInvalid, match="SHA-256"):
        opened(server.url).blobs.find_missing([ABSENT])


def test_the_instance_name_is_in_every_request_and_resource_name(server, opened):
    remote = opened(server.url, instance_name="main/branch")
    remote.blobs.write_stream(Digest.of(SMALL), [SMALL])
    remote.blobs.write_batch([(Digest.of(b"x"), b"x")])
    remote.blobs.find_missing([ABSENT])
    assert b"".join(remote.blobs.read_stream(Digest.of(SMALL))) == SMALL
    remote.blobs.read_batch([Digest.of(SMALL)])
    for name, request in server.calls:
        if name in {"Read", "Write"}:
            assert request.resource_name.startswith("main/branch/")
        else:
            assert request.instance_name == "main/branch"
    assert {name for name, _request in server.calls} >= {"Read", "Write", "Status", "GetCapabilities"}
