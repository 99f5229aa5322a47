"""worker.remote with our own server: zstd on the wire, and uploads that go on after the line broke."""

from __future__ import annotations

import os

import pytest
import zstandard
from harness.cutting_proxy import CuttingProxy
from harness.lying_server import LyingServer
from harness.remotes import HURRY, LARGE, Code
from harness.serving import settled, staged

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, DigestMismatch
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import CHUNK_BYTES
from worker.remote import compression
from worker.server.app import serve
from worker.server.uploads import Uploads

TEXT = b"".join(b"line %d of a log\n" % number for number in range(600_000))
NOISE = os.urandom(9 * CHUNK_BYTES + 123)


@pytest.fixture
def server(services):
    running = serve(services, listen="127.0.0.1:0")
    yield running
    running.stop(grace_s=0)


@pytest.fixture
def compressing(monkeypatch):
    """As if the remotes were on another machine."""
    monkeypatch.setattr(compression, "ON_LOOPBACK", True)


@pytest.fixture
def line(server):
    with CuttingProxy(server.address) as made:
        yield made


def whole(blobs, digest):
    return b"".join(blobs.read_stream(digest))


def test_to_this_machine_nothing_is_compressed(line, opened):
    blobs = opened(line.url).blobs
    blobs.write_stream(Digest.of(TEXT), (TEXT,))
    assert line.sent > len(TEXT)
    assert whole(blobs, Digest.of(TEXT)) == TEXT
    assert line.came > len(TEXT)


@pytest.mark.parametrize("instance_name", ["", "a/b"])
def test_to_others_streams_are_compressed_both_ways(compressing, line, opened, instance_name):
    blobs = opened(line.url, instance_name=instance_name).blobs
    for data in (TEXT, NOISE):
        blobs.write_stream(Digest.of(data), [data[:CHUNK_BYTES], data[CHUNK_BYTES:]])
        assert whole(blobs, Digest.of(data)) == data
    assert line.sent < len(NOISE) + len(TEXT) / 4
    assert line.came < len(NOISE) + len(TEXT) / 4
    blobs.write_stream(Digest.of(TEXT), (TEXT,))  # which is answered early
    with pytest.raises(BlobMissing):
        whole(blobs, Digest.of(b"absent"))


def test_batches_are_compressed_where_that_is_shorter(compressing, line, opened):
    blobs = opened(line.url).blobs
    pieces = [TEXT[start : start + 20_000] for start in range(0, 400_000, 20_000)]
    batch = [(Digest.of(data), data) for data in [*pieces, NOISE[:5000], b""]]
    blobs.write_batch(batch)
    assert blobs.read_batch([digest for digest, _ in batch]) == batch
    assert 5000 < line.sent < 200_000
    assert 5000 < line.came < 200_000


def _staged_bytes(services):
    """The longest staged file of the server."""
    folder, names = staged(services)
    return max((os.path.getsize(f"{services.layout.operation(folder)}/{name}") for name in names), default=0)


@pytest.mark.parametrize("as_zstd", [False, True], ids=["plain", "zstd"])
def test_an_upload_goes_on_where_the_line_broke(services, server, opened, monkeypatch, as_zstd):
    monkeypatch.setattr(compression, "ON_LOOPBACK", as_zstd)

    def written(carried):
        least_bytes = carried - 3 * CHUNK_BYTES  # of the others the server may have made nothing yet
        settled(lambda: _staged_bytes(services) >= least_bytes)

    with CuttingProxy(server.address, 6 * CHUNK_BYTES, 2 * CHUNK_BYTES, before_cut=written) as line:
        blobs = opened(line.url).blobs
        blobs.write_stream(Digest.of(NOISE), [NOISE])
        assert line.cuts == []
        assert line.sent < len(NOISE) + 6 * CHUNK_BYTES  # twice would be 18
        assert whole(blobs, Digest.of(NOISE)) == NOISE


@pytest.mark.parametrize("as_zstd", [False, True], ids=["plain", "zstd"])
def test_it_also_does_where_the_server_wrote_more_after_it_was_asked(
    services, server, opened, monkeypatch, as_zstd
):
    monkeypatch.setattr(compression, "ON_LOOPBACK", as_zstd)
    committed, take = Uploads.committed, Uploads.take
    behind, taken = [CHUNK_BYTES], []

    def asked(uploads, name):
        """At first it says less than is there a moment later."""
        size_bytes = committed(uploads, name)
        return size_bytes - behind.pop() if behind and size_bytes else size_bytes

    def taking(uploads, name, offset, stop):
        upload = take(uploads, name, offset, stop)
        taken.append(upload is not None)
        return upload

    monkeypatch.setattr(Uploads, "committed", asked)
    monkeypatch.setattr(Uploads, "take", taking)

    def written(_carried):
        settled(lambda: _staged_bytes(services) >= 2 * CHUNK_BYTES)

    with CuttingProxy(server.address, 6 * CHUNK_BYTES, before_cut=written) as line:
        blobs = opened(line.url).blobs
        blobs.write_stream(Digest.of(NOISE), [NOISE])
        assert taken == [False, True]
        assert whole(blobs, Digest.of(NOISE)) == NOISE


def test_a_compressed_download_goes_on_where_the_line_broke(compressing, server, opened):
    with CuttingProxy(server.address) as line:
        opened(line.url).blobs.write_stream(Digest.of(NOISE), [NOISE])
    with CuttingProxy(server.address, 6 * CHUNK_BYTES, 2 * CHUNK_BYTES, up=False) as line:
        assert whole(opened(line.url).blobs, Digest.of(NOISE)) == NOISE
        assert line.cuts == []
        assert line.came < len(NOISE) + 4 * CHUNK_BYTES


def test_bytes_that_are_not_their_digest_are_never_finished(compressing, server, opened):
    blobs = opened(f"http://{server.address}").blobs
    forged = Digest(Digest.of(NOISE).hash, len(LARGE))
    for digest in (forged, Digest.of(LARGE[:-1]), Digest.of(LARGE + b"x")):
        with pytest.raises(DigestMismatch):
            blobs.write_stream(digest, [LARGE])
        assert blobs.find_missing([digest]) == {digest}


# -- remotes that do not keep to it --------------------------------------------------------------------


class Strange(LyingServer):
    """Says that it speaks zstd, and sends what a test puts into ``frames`` for compressed reads."""

    def __init__(self, *contents, frames=None):
        super().__init__(*contents)
        self.compressors = [reapi.Compressor.ZSTD]
        self.frames = frames

    def called(self, method, request, context):
        name = getattr(request, "resource_name", "")
        if self.frames is None and "compressed-blobs" in name:
            self.calls.append((method, request))
            context.abort(Code.UNIMPLEMENTED, "what is that?")
        super().called(method, request, context)

    def lie(self, content):
        return content if self.frames is None else self.frames


def test_a_remote_that_does_not_speak_what_it_announced_is_spoken_to_plainly(compressing, opened):
    with Strange(LARGE) as server:
        blobs = opened(server.url).blobs
        assert whole(blobs, Digest.of(LARGE)) == LARGE
        blobs.write_stream(Digest.of(NOISE), [NOISE])
        assert server.blobs[Digest.of(NOISE).hash] == NOISE


def packed(data):
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(
    "frames",
    [
        b"no frame at all",
        packed(LARGE)[:-500],
        packed(LARGE) + packed(b"x"),
        packed(bytes(10**8)),
        packed(b""),
    ],
    ids=["no frame", "cut short", "more", "a bomb", "nothing"],
)
def test_what_comes_compressed_is_believed_when_it_matches(compressing, opened, frames):
    with Strange(LARGE, frames=frames) as server:
        received = []
        with pytest.raises(DigestMismatch, match=f"{Digest.of(LARGE)}"):
            received.extend(opened(server.url).blobs.read_stream(Digest.of(LARGE)))
        assert sum(map(len, received)) < len(LARGE)


@pytest.mark.parametrize("kept", [None, -1, 0, 1, 5 * CHUNK_BYTES, len(NOISE), 10**12])
def test_whatever_a_remote_says_it_has_kept_the_upload_ends_whole(opened, kept):
    with LyingServer() as server:
        server.keeps_bytes = kept
        server.answers["Write"], server.times["Write"] = Code.UNAVAILABLE, 1
        opened(server.url, HURRY).blobs.write_stream(Digest.of(NOISE), [NOISE])
        assert server.blobs[Digest.of(NOISE).hash] == NOISE
        # What it said then is refused: asked once more, and no third time.
        refuses = kept is not None and 0 < kept < len(NOISE)
        assert server.count("QueryWriteStatus") == 1 + refuses
