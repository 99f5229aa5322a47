from harness.memory_blobs import MemoryBlobs

from caskeeper.digest import Digest
from worker.protocols import CHUNK_BYTES
from worker.services.known import Known

THEIRS, OURS, LARGE = b"at the remote", b"at hand", b"x" * (CHUNK_BYTES + 1)


def test_what_is_at_hand_is_read_from_memory_and_never_missing():
    remote = MemoryBlobs(THEIRS)
    known = Known(remote, {Digest.of(data): data for data in (OURS, LARGE)})
    wanted = [Digest.of(data) for data in (OURS, THEIRS, LARGE)]
    assert known.find_missing(wanted) == set()
    assert known.read_batch(wanted[:2]) == [(wanted[0], OURS), (wanted[1], THEIRS)]
    assert [len(chunk) for chunk in known.read_stream(wanted[2])] == [CHUNK_BYTES, 1]
    assert {digest for _verb, digests in remote.calls for digest in digests} == {wanted[1]}


def test_nobody_is_asked_for_what_is_all_at_hand():
    remote = MemoryBlobs()
    known = Known(remote, {Digest.of(OURS): OURS})
    assert known.find_missing([Digest.of(OURS)]) == set()
    assert known.read_batch([Digest.of(OURS)]) == [(Digest.of(OURS), OURS)]
    assert remote.calls == []


def test_the_rest_is_the_remotes():
    remote = MemoryBlobs(THEIRS)
    known = Known(remote, {Digest.of(OURS): OURS})
    known.write_batch([(Digest.of(b"a"), b"a")])
    known.write_stream(Digest.of(b"b"), [b"b"])
    assert remote.arrived == [Digest.of(b"a"), Digest.of(b"b")]
    assert known.batch_limit_bytes == remote.batch_limit_bytes
    assert b"".join(known.read_stream(Digest.of(THEIRS))) == THEIRS
    assert known.find_missing([Digest.of(b"absent")]) == {Digest.of(b"absent")}
