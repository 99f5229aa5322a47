import os

import pytest
from harness.trees import MemoryTree
from harness.volumes import Account, Dead, DyingVolume, WatchedVolume, begin, blobs_of, fence, new_volume

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, LeaseLost, VolumeFailed
from worker.closure import WHOLE, Closure, Scope, walk
from worker.store.closures import ClosureList, Closures
from worker.store.measure import used_bytes
from worker.store.objects import Objects
from worker.store.volume import Volume

PARTIAL = Scope.of(["buildtree"])


@pytest.fixture
def tree():
    built = MemoryTree()
    built.buildtree = built.folder(o=b"o")
    built.root = built.folder(buildtree=built.buildtree, files=built.folder(f=b"f", _x_g=b"g"))
    return built


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


def place(volume, closure):
    return volume.layout.closure(closure.root.hash, closure.scope.id)


def test_a_list_has_every_digest_once_in_the_order_of_the_hashes(tree):
    closure = walk(tree.root, WHOLE, tree.read)
    entries = list(ClosureList.of(closure).entries)
    assert [entry.hash_bytes for entry in entries] == sorted(entry.hash_bytes for entry in entries)
    assert {Digest(raw.hex(), size) for raw, size, is_directory in entries if is_directory} == set(
        closure.directories
    )
    assert {Digest(raw.hex(), size) for raw, size, is_directory in entries if not is_directory} == set(
        closure.files
    )
    listed = ClosureList.of(closure)
    assert sorted(listed.digests()) == sorted(closure.digests)
    assert len(listed) == len(closure.digests)
    assert listed.size_bytes == closure.size_bytes


def test_root_and_scope_decide_every_byte(tree):
    closure = walk(tree.root, WHOLE, tree.read)
    turned = closure._replace(files=closure.files[::-1], directories=closure.directories[::-1])
    assert ClosureList.of(turned).to_bytes() == ClosureList.of(closure).to_bytes()


@pytest.mark.parametrize("files", [(), (Digest("ab" * 32, 2**63 - 1), Digest("00" * 32, 0))])
def test_sizes_up_to_the_largest_are_kept(files):
    root = Digest.of(b"root")
    listed = ClosureList.of(Closure(root, WHOLE, (root,), files))
    again = ClosureList.from_bytes(listed.to_bytes(), root.hash, "whole")
    assert set(again.digests()) == {root, *files}


def test_the_corruption_of_any_byte_is_detected(tree):
    closure = walk(tree.root, PARTIAL, tree.read)
    data = ClosureList.of(closure).to_bytes()
    assert ClosureList.from_bytes(data, tree.root.hash, PARTIAL.id) is not None
    for at in range(len(data)):
        for change in (1, 128):
            damaged = bytearray(data)
            damaged[at] ^= change
            assert ClosureList.from_bytes(bytes(damaged), tree.root.hash, PARTIAL.id) is None, at
    for length in range(len(data)):
        assert ClosureList.from_bytes(data[:length], tree.root.hash, PARTIAL.id) is None, length
    assert ClosureList.from_bytes(data + b"\0", tree.root.hash, PARTIAL.id) is None
    assert ClosureList.from_bytes(data + data[-40:], tree.root.hash, PARTIAL.id) is None


def test_a_list_under_another_name_is_not_believed(tree):
    data = ClosureList.of(walk(tree.root, PARTIAL, tree.read)).to_bytes()
    assert ClosureList.from_bytes(data, tree.root.hash, WHOLE.id) is None
    assert ClosureList.from_bytes(data, tree.buildtree.hash, PARTIAL.id) is None


def test_a_written_list_is_read_back_and_counted(volume, tree):
    closure = walk(tree.root, WHOLE, tree.read)
    account = Account()
    staging = begin(volume, account=account)
    before = used_bytes(volume)
    closures = Closures(volume)
    assert closures.read(tree.root.hash, "whole") is None
    closures.write(staging, closure)
    assert sorted(closures.read(tree.root.hash, "whole").digests()) == sorted(closure.digests)
    assert used_bytes(volume) - before == staging.added_bytes == account.spent
    assert os.stat(place(volume, closure)).st_mode & 0o777 == 0o444


def test_a_list_that_is_there_is_made_young_and_not_written(tmp_path, tree):
    volume = new_volume(tmp_path, WatchedVolume)
    closure = walk(tree.root, WHOLE, tree.read)
    closures = Closures(volume)
    closures.write(begin(volume, "first"), closure)
    path = place(volume, closure)
    os.utime(path, ns=(1, 1_000_000_000))
    inode = os.stat(path).st_ino
    staging = begin(volume, "second")
    volume.verbs.clear()
    closures.write(staging, closure)
    assert volume.verbs == ["touch"]
    there = os.stat(path)
    assert there.st_atime_ns >= staging.start_ns
    assert there.st_ino == inode
    assert staging.added_bytes == 0


def test_a_touch_that_lands_on_a_list_just_taken_writes_it_again(tmp_path, tree):
    volume = new_volume(tmp_path, WatchedVolume)
    closure = walk(tree.root, WHOLE, tree.read)
    closures = Closures(volume)
    closures.write(begin(volume, "first"), closure)
    path = place(volume, closure)
    staging = begin(volume, "second")

    def take(verb, *paths):
        if verb == "touch" and not os.path.exists(taken):
            os.rename(path, taken)

    taken = f"{volume.layout.trashes}/taken"
    volume.before = take
    closures.write(staging, closure)
    assert os.path.exists(taken)
    assert closures.read(tree.root.hash, "whole") is not None
    assert os.stat(path).st_atime_ns >= staging.start_ns
    assert staging.added_bytes == volume.charge(os.stat(path).st_size)


def test_a_list_that_is_older_than_the_operation_is_not_relied_upon(tmp_path, tree):
    """The touch landed on an inode taken away, and an older one was put back in its place."""

    class Aging(Volume):
        def touch(self, path):
            there = super().touch(path)
            if there and not aged:
                aged.append(path)
                os.utime(path, ns=(1, 1))
            return there

    aged = []
    volume = new_volume(tmp_path, Aging)
    closure = walk(tree.root, WHOLE, tree.read)
    staging = begin(volume)
    Closures(volume).write(staging, closure)
    assert aged == [place(volume, closure)]
    assert os.stat(aged[0]).st_atime_ns >= staging.start_ns


def test_reading_a_list_does_not_make_it_young(volume, tree):
    closures = Closures(volume)
    closure = walk(tree.root, WHOLE, tree.read)
    closures.write(begin(volume), closure)
    os.utime(place(volume, closure), ns=(1, 2))  # older than its change: every reader would set it
    assert closures.read(tree.root.hash, "whole") is not None
    assert next(closures.listing()).age_ns == 1


def test_a_list_that_is_always_taken_away_is_given_up(tmp_path, tree):
    volume = new_volume(tmp_path, WatchedVolume)
    closure = walk(tree.root, WHOLE, tree.read)
    path = place(volume, closure)

    def take(verb, *paths):
        if verb == "touch" and os.path.exists(path):
            os.unlink(path)

    volume.before = take
    with pytest.raises(VolumeFailed, match="as often as"):
        Closures(volume).write(begin(volume), closure)


@pytest.mark.parametrize("damage", [b"", b"cklist", None])
def test_a_damaged_list_is_rebuilt_and_replaced(volume, tree, damage):
    closure = walk(tree.root, WHOLE, tree.read)
    closures = Closures(volume)
    closures.write(begin(volume, "first"), closure)
    path = place(volume, closure)
    with open(path, "rb") as file:
        data = file.read()
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(data[:-1] + b"\0" if damage is None else damage)
    assert closures.read(tree.root.hash, "whole") is None
    staging = begin(volume, "second")
    closures.write(staging, closure)
    assert sorted(closures.read(tree.root.hash, "whole").digests()) == sorted(closure.digests)
    assert staging.added_bytes >= volume.charge(len(data))  # never understated (I5)
    assert os.listdir(staging.folder) == ["start"]


def test_a_partial_list_does_not_hide_the_whole_one(volume, tree):
    closures = Closures(volume)
    staging = begin(volume)
    whole, partial = (walk(tree.root, scope, tree.read) for scope in (WHOLE, PARTIAL))
    closures.write(staging, whole)
    closures.write(staging, partial)
    assert len(closures.read(tree.root.hash, "whole")) == len(whole.digests)
    assert len(closures.read(tree.root.hash, PARTIAL.id)) == len(partial.digests)
    assert {(entry.root_hash, entry.scope_id) for entry in closures.listing()} == {
        (tree.root.hash, "whole"),
        (tree.root.hash, PARTIAL.id),
    }


def test_obtain_rebuilds_a_missing_list_from_the_objects(volume, tree):
    blobs = blobs_of(begin(volume))
    for data in tree.data.values():
        blobs.add(data)
    closures, objects = Closures(volume), Objects(volume)
    closure = walk(tree.root, PARTIAL, tree.read)
    assert sorted(closures.obtain(tree.root, PARTIAL, objects).digests()) == sorted(closure.digests)
    assert closures.read(tree.root.hash, PARTIAL.id) is None
    os.unlink(volume.layout.object(tree.buildtree.hash))
    assert closures.obtain(tree.root, PARTIAL, objects) is not None
    with pytest.raises(BlobMissing, match=tree.buildtree.hash):
        closures.obtain(tree.root, WHOLE, objects)


def test_a_stored_list_is_believed_without_a_walk(volume, tree):
    closures = Closures(volume)
    closure = walk(tree.root, WHOLE, tree.read)
    closures.write(begin(volume), closure)
    assert len(closures.obtain(tree.root, WHOLE, Objects(volume))) == len(closure.digests)


def test_a_listing_says_size_and_age(volume, tree):
    closures = Closures(volume)
    assert list(closures.listing()) == []
    closure = walk(tree.root, WHOLE, tree.read)
    closures.write(begin(volume), closure)
    (entry,) = closures.listing()
    there = os.stat(place(volume, closure))
    assert entry.size_bytes == volume.charge(there.st_size)
    assert entry.age_ns == there.st_atime_ns


@pytest.mark.parametrize("name", ["xx", "ab/short.whole", "ab/" + "0" * 62, "ab/" + "0" * 62 + ".other"])
def test_what_is_no_list_stops_the_listing(volume, name):
    path = f"{volume.layout.closures}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb"):
        pass
    with pytest.raises(VolumeFailed) as caught:
        list(Closures(volume).listing())
    assert path in str(caught.value)


def test_a_fenced_operation_writes_no_list(volume, tree):
    staging = begin(volume)
    fence(volume)
    with pytest.raises(LeaseLost):
        Closures(volume).write(staging, walk(tree.root, WHOLE, tree.read))
    assert list(Closures(volume).listing()) == []


def test_a_list_appears_whole_or_not_at_all(tmp_path, tree):
    """I1: death at every change of writing one."""
    closure = walk(tree.root, WHOLE, tree.read)
    for at in range(1, 20):
        volume = new_volume(tmp_path / str(at))
        staging = begin(volume)
        dying = DyingVolume(volume.layout, at=at)
        staging.volume = dying
        try:
            Closures(dying).write(staging, closure)
        except Dead:
            path = place(volume, closure)
            assert not os.path.exists(path) or Closures(volume).read(tree.root.hash, "whole") is not None
        else:
            break
    else:
        raise AssertionError("it never came to an end")
    assert at > 2
