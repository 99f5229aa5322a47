"""The store's side of damage: telling it from a wrong request, and keeping a few of the files."""

import json
import os
import pickle

import pytest
from harness.damage import EVERY, WRONG, truncate
from harness.volumes import bare_volume, begin, blobs_of

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, DigestMismatch, LeaseLost, VolumeFailed, from_json
from worker.store import damage
from worker.store.damage import ObjectDamaged, ObjectMissing, Verdict, examine, looked_at, trouble_of
from worker.store.objects import Objects
from worker.store.quarantine import MOST, MOST_BYTES, Quarantine

CONTENT = bytes(range(256)) * 20
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def volume(tmp_path):
    volume = bare_volume(tmp_path)
    blobs_of(begin(volume)).add(CONTENT)
    volume.make_folder(volume.layout.trash("me"))
    return volume


@pytest.fixture
def place(volume):
    return volume.layout.object(DIGEST.hash)


def trashed(volume, name, content=b"damaged"):
    path = f"{volume.layout.trash('me')}/o-{name}"
    volume.stage(path, content)
    return path


def keep_each(volume, *hash_hexes):
    """One after the other, a second apart: the ticks of a volume's clock are longer than this takes."""
    for number, hash_hex in enumerate(hash_hexes, start=1):
        assert Quarantine(volume).keep(trashed(volume, hash_hex), hash_hex)
        os.utime(f"{volume.layout.damaged}/{hash_hex}", ns=(number * 10**9, 0))


def hashes(count):
    return [Digest.of(b"%d" % number).hash for number in range(count)]


# -- telling it apart --------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", WRONG)
def test_every_harm_is_damage(volume, place, harm):
    WRONG[harm](place)
    objects = Objects(volume)
    with pytest.raises(ObjectDamaged) as raised:
        objects.read(DIGEST)
    assert (raised.value.digest, raised.value.where) == (DIGEST, place)
    assert objects.examine(DIGEST) is Verdict.DAMAGED


@pytest.mark.parametrize("harm", sorted(set(WRONG) - {"flipped"}))
def test_what_is_no_file_of_its_size_is_not_relied_upon(volume, place, harm):
    """Nor written over, nor waited for."""
    WRONG[harm](place)
    for attempt in (lambda blobs: blobs.refresh(DIGEST), lambda blobs: blobs.add(CONTENT)):
        with pytest.raises(ObjectDamaged):
            attempt(blobs_of(begin(volume, harm.replace(" ", "-") + str(id(attempt)))))


def test_what_is_gone_is_missing_and_no_damage(volume, place):
    os.unlink(place)
    objects = Objects(volume)
    with pytest.raises(ObjectMissing) as raised:
        objects.read(DIGEST)
    assert raised.value.digest == DIGEST
    assert objects.examine(DIGEST) is Verdict.GONE
    assert not objects.find(DIGEST)


def test_what_a_cleanup_holds_is_looked_at_where_it_belongs(volume, place):
    volume.take(place, f"{volume.layout.trash('me')}/o-{DIGEST.hash}")
    assert Objects(volume).examine(DIGEST) is Verdict.GOOD
    assert os.path.exists(place)


def test_the_empty_blob_needs_no_file(volume):
    assert Objects(volume).examine(EMPTY) is Verdict.GOOD


def test_another_size_is_the_fault_of_whoever_claims_it(volume):
    with pytest.raises(DigestMismatch) as raised:
        Objects(volume).read(Digest(DIGEST.hash, 5))
    assert not isinstance(raised.value, ObjectDamaged)
    assert trouble_of(raised.value) is None


def test_a_good_file_is_hashed_once_for_any_number_of_sizes(volume, place, monkeypatch):
    hashed = []
    real = damage.hash_of
    monkeypatch.setattr(damage, "hash_of", lambda *words, **more: hashed.append(1) or real(*words, **more))
    blobs = blobs_of(begin(volume, "other"))
    for size in range(100):
        with pytest.raises(DigestMismatch):
            blobs.refresh(Digest(DIGEST.hash, size))
    assert len(hashed) == 1
    truncate(place)
    with pytest.raises(ObjectDamaged):
        blobs.refresh(Digest(DIGEST.hash, 7))


def test_a_look_makes_nothing_young(volume, place):
    os.utime(place, ns=(0, os.stat(place).st_mtime_ns))
    objects = Objects(volume)
    assert examine(place, DIGEST.hash).verdict is Verdict.GOOD
    assert objects.read(DIGEST) == CONTENT
    with pytest.raises(DigestMismatch):
        objects.read(Digest(DIGEST.hash, 5))
    assert os.stat(place).st_atime_ns == 0


def test_a_look_ends_when_its_caller_does(place):
    def stop():
        raise LeaseLost("over")

    with pytest.raises(LeaseLost):
        examine(place, DIGEST.hash, check=stop)


def test_a_look_is_about_one_inode(place):
    with looked_at(place, DIGEST.hash) as look:
        assert look.is_about(os.stat(place))
        assert not look.is_about(os.stat(os.path.dirname(place)))
    assert not examine(f"{place}.none", DIGEST.hash).is_about(os.stat(place))


def test_trouble_of_the_disk_is_no_verdict(place, monkeypatch):
    """I10."""

    def fails(*_arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "readv", fails)
    with pytest.raises(VolumeFailed):
        examine(place, DIGEST.hash)


@pytest.mark.parametrize("kind", [ObjectDamaged, ObjectMissing])
def test_outside_of_the_process_both_are_what_everybody_knows(kind):
    error = kind("what", "where", "way out", DIGEST)
    assert pickle.loads(pickle.dumps(error)).args == ("what", "where", "way out")
    known = from_json(json.loads(json.dumps(error.to_json())))
    assert type(known) is (DigestMismatch if kind is ObjectDamaged else BlobMissing)
    assert str(known) == str(error)


def test_trouble_is_found_behind_the_error_it_caused():
    cause = ObjectMissing("gone", "", "", DIGEST)
    outer = VolumeFailed("a tree cannot be read")
    outer.__cause__ = cause
    assert trouble_of(outer) is cause
    assert trouble_of(None) is None
    assert trouble_of(BlobMissing("at a remote")) is None


# -- keeping a few -----------------------------------------------------------------------------------------


def test_what_is_kept_is_listed_oldest_first(volume):
    quarantine = Quarantine(volume)
    assert quarantine.listing() == []
    keep_each(volume, *hashes(3))
    assert [one.hash_hex for one in quarantine.listing()] == hashes(3)
    assert {one.size_bytes for one in quarantine.listing()} == {volume.charge(7)}
    assert {one.links for one in quarantine.listing()} == {0}


def test_a_second_one_of_a_hash_stays_where_it_is(volume):
    quarantine = Quarantine(volume)
    (hash_hex,) = hashes(1)
    assert quarantine.keep(trashed(volume, hash_hex, b"first"), hash_hex)
    second = trashed(volume, hash_hex, b"second")
    assert not quarantine.keep(second, hash_hex)
    assert os.path.exists(second)


def test_its_age_is_the_moment_it_came(volume):
    (hash_hex,) = hashes(1)
    taken = trashed(volume, hash_hex)
    os.utime(taken, ns=(0, 0))
    assert Quarantine(volume).keep(taken, hash_hex)
    assert Quarantine(volume).listing()[0].age_ns >= os.stat(volume.layout.trash("me")).st_ctime_ns - 10**9


def test_what_left_the_trash_is_not_kept(volume):
    (hash_hex,) = hashes(1)
    assert not Quarantine(volume).keep(f"{volume.layout.trash('me')}/o-{hash_hex}", hash_hex)


def test_after_a_fence_nothing_is_kept(volume):
    (hash_hex,) = hashes(1)
    taken = trashed(volume, hash_hex)
    volume.move_folder(volume.layout.trash("me"), volume.layout.trash("other"))
    assert not Quarantine(volume).keep(taken, hash_hex)
    assert Quarantine(volume).listing() == []


def test_what_is_too_many_or_too_much_is_the_oldest(volume, monkeypatch):
    quarantine = Quarantine(volume)
    keep_each(volume, *hashes(5))
    assert quarantine.excess() == []
    monkeypatch.setattr("worker.store.quarantine.MOST", 3)
    assert [one.hash_hex for one in quarantine.excess()] == hashes(2)
    monkeypatch.setattr("worker.store.quarantine.MOST_BYTES", volume.charge(7))
    assert [one.hash_hex for one in quarantine.excess()] == hashes(4)


def test_the_bounds_are_few():
    assert MOST <= 100
    assert MOST_BYTES <= 1 << 30


def test_strangers_beside_them_are_left_alone(volume):
    os.makedirs(f"{volume.layout.damaged}/folder")
    with open(f"{volume.layout.damaged}/notes", "w", encoding="ascii") as file:
        file.write("why")
    assert Quarantine(volume).listing() == []


@pytest.mark.parametrize("harm", EVERY)
def test_a_closure_list_that_is_harmed_is_as_good_as_missing(volume, harm):
    from worker.closure import WHOLE, walk
    from worker.directory import Directory, FileEntry, serialise
    from worker.store.closures import Closures

    staging = begin(volume, "lists")
    root = blobs_of(staging).add(serialise(Directory(files=(FileEntry("name", DIGEST),))))
    objects, closures = Objects(volume), Closures(volume)
    closure = walk(root, WHOLE, objects.directory)
    closures.write(staging, closure)
    whole = closures.read(root.hash, "whole").to_bytes()
    EVERY[harm](volume.layout.closure(root.hash, "whole"))
    assert closures.read(root.hash, "whole") is None
    assert closures.obtain(root, WHOLE, objects).to_bytes() == whole
    assert len(list(closures.listing())) == (harm in {"flipped", "truncated", "empty"})
    closures.write(staging, closure)
    assert closures.read(root.hash, "whole").to_bytes() == whole
    staging.end()


def test_a_list_holds_what_it_names(volume):
    from worker.closure import WHOLE, walk
    from worker.directory import Directory, FileEntry, serialise
    from worker.store.closures import ClosureList

    blobs = blobs_of(begin(volume, "holds"))
    files = [blobs.add(b"%d" % number) for number in range(30)]
    entries = tuple(FileEntry(f"{number:02}", digest) for number, digest in enumerate(files))
    root = blobs.add(serialise(Directory(files=entries)))
    found = ClosureList.of(walk(root, WHOLE, Objects(volume).directory))
    assert all(found.holds(bytes.fromhex(digest.hash)) for digest in (root, *files))
    for other in (
        bytes(32),
        b"\xff" * 32,
        bytes.fromhex(DIGEST.hash),
        bytes.fromhex(files[0].hash)[:-1] + b"!",
    ):
        assert not found.holds(other)
