import os

import pytest
from harness.volumes import WatchedVolume, bare_volume, begin, blobs_of

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest, PermissionDenied, VolumeFailed
from worker.directory import MAX_MESSAGE_BYTES, Directory, DirectoryEntry, serialise
from worker.store.damage import hash_of
from worker.store.objects import OBJECT_IN_TRASH, Objects

CONTENT = bytes(range(256)) * 20
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def volume(tmp_path):
    volume = bare_volume(tmp_path)
    blobs_of(begin(volume)).add(CONTENT)
    return volume


@pytest.fixture
def objects(volume):
    return Objects(volume)


def damage(volume, content):
    path = volume.layout.object(DIGEST.hash)
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(content)


def test_what_is_stored_is_found_and_read(objects):
    assert objects.stat(DIGEST.hash).st_size == DIGEST.size_bytes
    assert objects.read(DIGEST) == CONTENT
    fd = objects.open(DIGEST)
    assert hash_of(fd, "") == DIGEST
    os.close(fd)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 5119, 5120, 1 << 20])
def test_a_stream_gives_the_same_bytes_in_pieces(objects, chunk_bytes):
    assert b"".join(objects.stream(DIGEST, chunk_bytes=chunk_bytes)) == CONTENT


@pytest.mark.parametrize(
    ("offset", "limit"), [(0, 10), (5, None), (5, 10), (5100, 1000), (5120, None), (9999, 5), (0, 0)]
)
def test_a_part_of_a_blob_is_that_part(objects, offset, limit):
    end = None if limit is None else offset + limit
    parts = objects.stream(DIGEST, offset=offset, limit=limit, chunk_bytes=100)
    assert b"".join(parts) == CONTENT[offset:end]


def test_the_empty_blob_is_there_without_a_file(objects, volume):
    assert objects.read(EMPTY) == b""
    assert list(objects.stream(EMPTY)) == []
    assert objects.directory(EMPTY) == Directory()
    assert objects.stat(EMPTY.hash) is None


def test_a_missing_blob_is_a_miss_that_names_it(objects):
    missing = Digest.of(b"not here")
    assert objects.stat(missing.hash) is None
    for attempt in (objects.open, objects.read, objects.directory, lambda d: list(objects.stream(d))):
        with pytest.raises(BlobMissing) as raised:
            attempt(missing)
        assert str(missing) in str(raised.value)


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
def test_a_file_of_another_size_is_damage_and_says_where(objects, volume, content):
    damage(volume, content)
    for attempt in (objects.open, objects.read, lambda d: list(objects.stream(d, limit=1))):
        with pytest.raises(DigestMismatch) as raised:
            attempt(DIGEST)
        assert raised.value.where == volume.layout.object(DIGEST.hash)
    assert os.path.exists(volume.layout.object(DIGEST.hash))


def test_a_digest_that_lies_about_the_size_is_told_from_damage(objects):
    with pytest.raises(DigestMismatch) as raised:
        objects.read(Digest(DIGEST.hash, 5))
    assert raised.value.where == ""


def test_wrong_bytes_of_the_right_size_are_found_before_the_last_piece_comes(objects, volume):
    damage(volume, b"X" + CONTENT[1:])
    with pytest.raises(DigestMismatch):
        objects.read(DIGEST)
    pieces = []
    with pytest.raises(DigestMismatch):
        pieces.extend(objects.stream(DIGEST, chunk_bytes=1000))
    stream = objects.stream(DIGEST, chunk_bytes=1000)
    assert len([next(stream) for _ in range(5)]) == 5
    with pytest.raises(DigestMismatch):
        next(stream)
    assert b"".join(objects.stream(DIGEST, verify=False)) == b"X" + CONTENT[1:]


def test_what_a_cleanup_has_taken_is_put_back_by_its_reader(objects, volume):
    place = volume.layout.object(DIGEST.hash)
    for cleanup in ("empty", "mine"):
        volume.make_folder(volume.layout.trash(cleanup))
    inode = os.stat(place).st_ino
    taken = f"{volume.layout.trash('mine')}/{OBJECT_IN_TRASH}{DIGEST.hash}"
    assert volume.take(place, taken)
    assert objects.read(DIGEST) == CONTENT
    assert os.stat(place).st_ino == inode
    assert not os.path.exists(taken)


def test_a_reader_that_meets_the_object_in_the_trash_takes_the_one_written_anew(tmp_path):
    """Between the looks somebody wrote it again: that one is younger and stays."""
    volume = bare_volume(tmp_path, WatchedVolume)
    blobs_of(begin(volume)).add(CONTENT)
    place, trash = volume.layout.object(DIGEST.hash), volume.layout.trash("me")
    volume.make_folder(trash)
    volume.take(place, f"{trash}/{OBJECT_IN_TRASH}{DIGEST.hash}")

    def writes_again(verb, *paths):
        if verb == "publish":
            with open(place, "wb") as file:
                file.write(CONTENT)

    volume.before = writes_again
    assert Objects(volume).read(DIGEST) == CONTENT
    assert os.path.exists(f"{trash}/{OBJECT_IN_TRASH}{DIGEST.hash}")


def test_a_trash_folder_that_is_renamed_between_two_looks_is_looked_into(tmp_path):
    """A cleanup that recovers another's folder moves it first (safety.md section 5, step 2)."""
    volume = bare_volume(tmp_path)
    blobs_of(begin(volume)).add(CONTENT)
    trash = volume.layout.trash("dead")
    volume.make_folder(trash)
    volume.take(volume.layout.object(DIGEST.hash), f"{trash}/{OBJECT_IN_TRASH}{DIGEST.hash}")
    moved = []

    class Unlucky(Objects):
        def _put_back(self, cleanup_id, hash_hex, place):
            if not moved:
                moved.append(volume.move_folder(trash, volume.layout.trash("recovers-dead")))
            super()._put_back(cleanup_id, hash_hex, place)

    assert Unlucky(volume).read(DIGEST) == CONTENT
    assert moved


def test_what_is_unlinked_while_a_reader_looks_is_a_miss(tmp_path):
    volume = bare_volume(tmp_path, WatchedVolume)
    trash = volume.layout.trash("me")
    volume.make_folder(trash)
    taken = f"{trash}/{OBJECT_IN_TRASH}{DIGEST.hash}"
    volume.stage(taken, CONTENT)
    volume.before = lambda verb, *_: os.unlink(taken) if verb == "publish" else None
    with pytest.raises(BlobMissing):
        Objects(volume).read(DIGEST)


def test_trouble_is_never_a_miss(objects, volume):
    """I10: here a file stands where a fan-out folder belongs."""
    other = Digest.of(b"elsewhere")
    folder = os.path.dirname(volume.layout.object(other.hash))
    os.rmdir(folder)
    with open(folder, "wb"):
        pass
    for attempt in (objects.read, lambda d: objects.stat(d.hash)):
        with pytest.raises((VolumeFailed, PermissionDenied)):
            attempt(other)


def test_a_directory_is_read_as_such(objects, volume):
    directory = Directory(directories=(DirectoryEntry("sub", EMPTY),))
    digest = blobs_of(begin(volume, "second")).add(serialise(directory))
    assert objects.directory(digest) == directory


def test_what_is_too_large_for_a_folders_message_is_not_read(volume, objects):
    digest = Digest(DIGEST.hash, MAX_MESSAGE_BYTES + 1)
    os.chmod(volume.layout.object(DIGEST.hash), 0o644)
    os.truncate(volume.layout.object(DIGEST.hash), digest.size_bytes)
    with pytest.raises(InvalidRequest, match="too large"):
        objects.directory(digest)
    with pytest.raises(DigestMismatch):
        objects.directory(digest._replace(size_bytes=MAX_MESSAGE_BYTES))
