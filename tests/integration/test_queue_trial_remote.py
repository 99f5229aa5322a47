"""The remote of the long trials, as the process that it is: what it offers, and that it counts."""

from __future__ import annotations

from harness.queue_trial_remote import RemoteProcess
from harness.queue_trial_trees import trial_tree
from harness.serving import Peer, upload_name

from caskeeper.digest import Digest
from worker._protos import bytestream_pb2 as stream


def test_it_has_every_published_tree_and_counts_what_is_taken_and_brought():
    published, committed = trial_tree("s", "published", 8), trial_tree("s", "committed", 1)
    large = next(data for data in published.blobs.values() if len(data) > 1_000_000)
    with RemoteProcess("s") as remote:
        peer = Peer(remote.url.removeprefix("http://"))
        try:
            assert peer.resolve(published.ref) == published.root
            assert peer.read(f"blobs/{Digest.of(large)}") == large
            assert peer.missing(published.root) == []
            for _ in range(2):
                peer.upload(*committed.blobs.values())
            whole = stream.WriteRequest(
                resource_name=upload_name(Digest.of(b"by stream")), data=b"by stream", finish_write=True
            )
            assert peer.write(whole) == 9
            peer.update(committed.root, committed.ref)
            seen = remote.seen()
        finally:
            peer.channel.close()
    assert seen["refs"] == {committed.ref: committed.root}
    assert seen["bound"] == {committed.ref: 1}
    assert seen["downloads"] == {Digest.of(large).hash: 1}
    assert seen["uploads"] == {**dict.fromkeys(committed.blobs, 2), Digest.of(b"by stream").hash: 1}
    assert set(seen["blobs"]) >= {*committed.blobs, *published.blobs}
