"""Uploads that broke off: QueryWriteStatus, and going on where they ended (wire-protocols section 4)."""

import os
import threading

import grpc
from harness.serving import open_services, operations, refusal, serving, settled, staged, upload_name

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import VolumeFailed
from worker import zstd
from worker._protos.bytestream_pb2 import QueryWriteStatusRequest, WriteRequest
from worker.server import rolling, uploads
from worker.store.measure import used_bytes

CODE = grpc.StatusCode
DATA = os.urandom(3_000_000)
DIGEST = Digest.of(DATA)
CUT = 2_000_000


def query(peer, name):
    answer = peer.bytestream.QueryWriteStatus(QueryWriteStatusRequest(resource_name=name))
    return answer.committed_size, answer.complete


def begin(peer, name, data=DATA[:CUT], *, come=CUT):
    """An upload that sent ``data`` and goes on neither forward nor back; ends when cancelled."""
    going = threading.Event()

    def requests():
        yield WriteRequest(resource_name=name, data=data)
        going.wait()

    call = peer.bytestream.Write.future(requests())
    call.add_done_callback(lambda _call: going.set())
    settled(lambda: _has_come(peer, name, come))
    return call


def _has_come(peer, name, come):
    try:
        return query(peer, name)[0] >= come
    except grpc.RpcError:
        return False


def broken_off(peer, name, data=DATA[:CUT], *, come=CUT):
    """An upload whose client is gone; how much of it is kept."""
    begin(peer, name, data, come=come).cancel()
    # A call that goes on waits for the end of the one before; at a wrong offset it changes nothing.
    assert refusal(peer.write, WriteRequest(resource_name=name, write_offset=1)) is CODE.FAILED_PRECONDITION
    return query(peer, name)[0]


def rest(name, offset):
    return WriteRequest(resource_name=name, write_offset=offset, data=DATA[offset:], finish_write=True)


def test_an_upload_that_broke_off_goes_on_where_it_ended(services):
    with serving(services) as peer:
        name = upload_name(DIGEST, instance="main/")
        assert refusal(query, peer, name) is CODE.NOT_FOUND
        offset = broken_off(peer, name)
        assert (offset, query(peer, name)) == (CUT, (CUT, False))
        assert peer.missing(DIGEST) == [DIGEST]
        assert peer.write(rest(name, offset)) == len(DATA)
        assert peer.read(f"blobs/{DIGEST}") == DATA
        assert query(peer, name) == (len(DATA), True)
        assert staged(services)[1] == []
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (used_bytes(services.volume), 0)


def test_a_call_that_still_runs_is_ended_by_the_one_that_goes_on(peer, services):
    name = upload_name(DIGEST)
    stuck = begin(peer, name)
    assert peer.write(rest(name, CUT)) == len(DATA)
    assert stuck.code() is CODE.CANCELLED
    assert peer.read(f"blobs/{DIGEST}") == DATA


def test_a_compressed_upload_goes_on_in_plain_bytes_with_a_new_frame(peer, services):
    name = upload_name(DIGEST).replace("/blobs/", "/compressed-blobs/zstd/")
    frame = b"".join(zstd.compressed([DATA[:CUT], DATA[CUT:]]))
    offset = broken_off(peer, name, frame[: len(frame) * 2 // 3], come=1024 * 1024)
    assert 1024 * 1024 <= offset < len(DATA)
    packed = zstd.pack(DATA[offset:])
    half = len(packed) // 2
    committed = peer.write(
        WriteRequest(resource_name=name, write_offset=offset, data=packed[:half]),
        WriteRequest(write_offset=offset + half, data=packed[half:], finish_write=True),
    )
    assert committed == offset + len(packed)
    assert peer.read(f"blobs/{DIGEST}") == DATA


def test_what_goes_on_is_verified_from_its_first_byte(peer, services):
    name = upload_name(DIGEST)
    offset = broken_off(peer, name, os.urandom(CUT))
    assert refusal(peer.write, rest(name, offset)) is CODE.FAILED_PRECONDITION
    assert peer.missing(DIGEST) == [DIGEST]
    assert refusal(query, peer, name) is CODE.NOT_FOUND
    assert staged(services)[1] == []


def test_another_offset_is_refused_and_a_new_start_is_taken(peer, services):
    name = upload_name(DIGEST)
    offset = broken_off(peer, name)
    for other in (1, offset - 1, offset + 1, len(DATA) + 1):
        piece = WriteRequest(resource_name=name, write_offset=other, data=b"x")
        assert refusal(peer.write, piece) is CODE.FAILED_PRECONDITION
    assert query(peer, name) == (offset, False)
    assert refusal(peer.write, rest(upload_name(DIGEST), offset)) is CODE.FAILED_PRECONDITION
    half = WriteRequest(resource_name=name, data=DATA[:CUT])
    assert peer.write(half, WriteRequest(write_offset=CUT, data=DATA[CUT:], finish_write=True)) == len(DATA)
    assert staged(services)[1] == []


def test_the_status_of_what_is_here_is_complete_and_of_what_is_none_not_found(peer, reader):
    peer.upload(b"here")
    for asked in (peer, reader):
        assert query(asked, upload_name(Digest.of(b"here"))) == (4, True)
        assert query(asked, upload_name(EMPTY)) == (0, True)
        for name in (upload_name(DIGEST), upload_name(Digest(Digest.of(b"here").hash, 3)), "nonsense"):
            assert refusal(query, asked, name) is CODE.NOT_FOUND
    assert refusal(reader.write, rest(upload_name(DIGEST), CUT)) is CODE.PERMISSION_DENIED


def test_what_is_kept_is_paid_for_and_given_back_after_its_time(services, monkeypatch):
    monkeypatch.setattr(rolling, "TURN_S", 0.02)
    usage = services.coordination.usage
    with serving(services) as peer:
        large = Digest(Digest.of(b"never").hash, 900_000_000)
        name = upload_name(large)
        broken_off(peer, name)
        # What did not come is reserved no longer.
        settled(lambda: usage.snapshot().reserved_bytes < 50_000_000)
        assert usage.snapshot().used_bytes + usage.snapshot().reserved_bytes >= used_bytes(services.volume)
        monkeypatch.setattr(uploads, "KEPT_S", 0.0)
        settled(lambda: staged(services)[1] == [])
        assert refusal(query, peer, name) is CODE.NOT_FOUND
    assert (usage.snapshot().used_bytes, usage.snapshot().reserved_bytes) == (used_bytes(services.volume), 0)


def test_what_is_kept_is_bounded_in_number_and_in_bytes(peer, services, monkeypatch):
    monkeypatch.setattr(uploads, "MOST", 2)
    names = [upload_name(DIGEST) for _ in range(3)]
    for name in names:
        broken_off(peer, name)
    assert refusal(query, peer, names[0]) is CODE.NOT_FOUND
    assert [query(peer, name)[0] for name in names[1:]] == [CUT, CUT]
    monkeypatch.setattr(uploads, "MOST_BYTES", CUT + 1)
    last = upload_name(DIGEST)
    broken_off(peer, last)
    assert [refusal(query, peer, name) for name in names] == [CODE.NOT_FOUND] * 3
    assert query(peer, last)[0] == CUT
    assert len(staged(services)[1]) == 1


def test_it_ends_with_its_operation(services, monkeypatch):
    with serving(services) as peer:
        name = upload_name(DIGEST)
        offset = broken_off(peer, name)
        folder, _ = staged(services)
        os.rename(services.layout.operation(folder), services.layout.trash("fence"))
        assert refusal(peer.write, rest(name, offset)) is CODE.ABORTED
        assert refusal(query, peer, name) is CODE.NOT_FOUND
        assert peer.write(*whole(upload_name(DIGEST))) == len(DATA)
        broken_off(peer, upload_name(other := Digest(Digest.of(b"other").hash, len(DATA))))
        assert peer.missing(other) == [other]
    assert operations(services) == []


def whole(name):
    return (
        WriteRequest(resource_name=name, data=DATA[:CUT]),
        WriteRequest(write_offset=CUT, data=DATA[CUT:], finish_write=True),
    )


def test_an_upload_that_is_not_finished_properly_may_go_on_too(peer):
    name = upload_name(DIGEST)
    assert refusal(peer.write, WriteRequest(resource_name=name, data=DATA[:CUT])) is CODE.FAILED_PRECONDITION
    assert query(peer, name) == (CUT, False)
    assert peer.write(rest(name, CUT)) == len(DATA)


def test_an_upload_that_finds_no_room_is_not_kept(tmp_path, valkey, monkeypatch):
    monkeypatch.setattr(rolling, "ROOM_WAIT_S", 0.1)
    services = open_services(tmp_path, valkey.url, quota="8M")
    try:
        with serving(services) as peer:
            large = Digest(Digest.of(b"large").hash, 9_000_000)
            begun = WriteRequest(resource_name=upload_name(large), data=DATA[:CUT])
            assert refusal(peer.write, begun) is CODE.RESOURCE_EXHAUSTED
            assert staged(services)[1] == []
            assert peer.write(*whole(upload_name(DIGEST))) == len(DATA)
    finally:
        services.close()


def test_an_upload_that_finds_no_room_to_go_on_is_dropped(tmp_path, valkey, monkeypatch):
    monkeypatch.setattr(rolling, "ROOM_WAIT_S", 0.1)
    services = open_services(tmp_path, valkey.url, quota="20M")
    try:
        with serving(services) as peer:
            large = Digest(Digest.of(b"large").hash, 12_000_000)
            name = upload_name(large)
            offset = broken_off(peer, name)
            others = [os.urandom(3_000_000) for _ in range(4)]
            for data in others:
                only = WriteRequest(resource_name=upload_name(Digest.of(data)), data=data, finish_write=True)
                assert peer.write(only) == len(data)
            more = WriteRequest(resource_name=name, write_offset=offset, data=b"more")
            assert refusal(peer.write, more) is CODE.RESOURCE_EXHAUSTED
            assert refusal(query, peer, name) is CODE.NOT_FOUND
            assert staged(services)[1] == []
    finally:
        services.close()


def test_what_cannot_take_the_place_of_a_kept_one_leaves_nothing(peer, services, monkeypatch):
    """A disk that does not let go of the kept one."""
    name = upload_name(DIGEST)
    broken_off(peer, name)
    (kept,) = staged(services)[1]
    unlink, spared = services.volume.unlink, []

    def spares(path, **options):
        if path.endswith(f"/{kept}") and not spared:
            spared.append(path)
            raise VolumeFailed("a broken disk", path)
        return unlink(path, **options)

    monkeypatch.setattr(services.volume, "unlink", spares)
    assert refusal(peer.write, *whole(name)) is CODE.INTERNAL
    assert staged(services)[1] == [kept]
    assert peer.write(*whole(name)) == len(DATA)
