import os

import pytest
from harness.trees import ROOT, MemoryTree, write_spec_tree
from harness.volumes import Account, WatchedVolume, begin, blobs_of, fence, new_volume

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import LeaseLost, VolumeFailed
from worker._protos import ref_record_pb2, remote_execution_pb2
from worker.closure import WHOLE, Scope
from worker.protocols import quiet
from worker.store.capture import capture
from worker.store.measure import used_bytes
from worker.store.refs import RefRecord, Refs, decode, encode

REF = Ref.parse("project/element/key")
RECORD = RefRecord(
    roots=(ROOT, Digest.of(b"more")),
    kind=1,
    scope=Scope.of(["buildtree"], ["buildtree/src"]),
    serial=2**64 - 1,
    created_ms=1_700_000_000_123,
    labels={"b": "2", "a": "1"},
    origin="commit",
)
#: local-cas section 4: the ref file of the test vectors' root
OLD_REF = bytes.fromhex("0a40") + ROOT.hash.encode() + bytes.fromhex("10bd02")


@pytest.fixture
def volume(tmp_path):
    return new_volume(tmp_path)


@pytest.fixture
def refs(volume):
    return Refs(volume)


def bind(refs, ref=REF, record=RECORD, operation="op"):
    staging = begin(refs.volume, operation)
    refs.publish(staging, refs.stage(staging, ref, record), ref)
    staging.end()
    return staging


def put(volume, data, ref=REF):
    path = volume.layout.ref(ref)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def test_the_spec_s_ref_file_reads_as_a_whole_tree():
    record = decode(OLD_REF)
    assert record == RefRecord((ROOT,))
    assert record.scope == WHOLE
    assert record.root == ROOT


def test_a_record_begins_with_the_spec_s_bytes_and_reads_as_a_digest():
    data = encode(REF, RECORD)
    assert data.startswith(OLD_REF)
    digest = remote_execution_pb2.Digest.FromString(data)
    assert (digest.hash, digest.size_bytes) == ROOT


def test_a_plain_record_without_a_name_is_the_spec_s_file():
    message = ref_record_pb2.RefRecord.FromString(encode(REF, RefRecord((ROOT,))))
    assert message.name == str(REF)
    message.ClearField("name")
    assert message.SerializeToString() == OLD_REF


def test_a_record_is_read_as_it_was_published(refs):
    bind(refs)
    assert refs.read(REF) == RECORD._replace(name=str(REF))
    assert refs.record_at(refs.volume.layout.ref(REF)) == refs.read(REF)


def test_a_kind_of_a_later_version_is_kept(refs):
    bind(refs, record=RECORD._replace(kind=77))
    assert refs.read(REF).kind == 77


def test_equal_records_have_equal_bytes_whatever_the_order_of_their_labels():
    labels = {f"label{number}": "x" for number in range(50)}
    one, other = (RECORD._replace(labels=dict(pairs)) for pairs in (labels.items(), reversed(labels.items())))
    assert encode(REF, one) == encode(REF, other)


def test_two_fresh_records_of_one_root_are_told_apart():
    one, two = (RefRecord.fresh((ROOT,), origin="commit") for _ in range(2))
    assert one.serial
    assert one.serial != two.serial
    assert one.created_ms > 1_600_000_000_000


def test_no_ref_is_none(refs):
    assert refs.read(REF) is None
    assert refs.record_at("/nowhere/at/all") is None
    assert not refs.touch(REF)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xff", b"\0" * 100, OLD_REF[:40], OLD_REF[2:], b"\x0a\x40" + b"g" * 64 + b"\x10\x01"]
)
def test_a_damaged_ref_is_an_error_that_names_the_way_out_and_never_a_miss(refs, data):
    put(refs.volume, data)
    with pytest.raises(VolumeFailed) as caught:
        refs.read(REF)
    assert "caskeeper verify --repair" in str(caught.value)
    assert refs.volume.layout.ref(REF) in str(caught.value)
    assert [(entry.ref, entry.record) for entry in refs.listing()] == [(REF, None)]
    assert refs.record_at(refs.volume.layout.ref(REF)) is None


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_in_the_place_of_a_ref_is_a_damaged_ref(refs, kind):
    """And no miss (I10); its error names the command that takes it away."""
    path = refs.volume.layout.ref(REF)
    os.makedirs(os.path.dirname(path))
    make = {"folder": os.mkdir, "pipe": os.mkfifo, "link": lambda path: os.symlink("/etc/passwd", path)}
    make[kind](path)
    with pytest.raises(VolumeFailed, match="caskeeper verify --repair"):
        refs.read(REF)
    (entry,) = refs.listing()
    assert (entry.ref, entry.record) == (REF, None)


def test_a_listing_has_every_ref_with_its_age(refs):
    others = [Ref("project", "element", "key2"), Ref("other", "_a.b-c", "K"), Ref("other", "x.bst", "K")]
    for number, ref in enumerate(others):
        bind(refs, ref, operation=f"op{number}")
    put(refs.volume, OLD_REF)
    found = {entry.ref: entry for entry in refs.listing()}
    assert set(found) == {REF, *others}
    assert found[REF].record == RefRecord((ROOT,))
    assert found[REF].size_bytes == len(OLD_REF)
    assert found[others[0]].age_ns == os.stat(refs.volume.layout.ref(others[0])).st_atime_ns


def test_a_volume_without_refs_has_an_empty_listing(refs):
    assert list(refs.listing()) == []


def test_what_is_no_ref_stops_the_listing(refs):
    bind(refs)
    layout = refs.volume.layout
    for path in (
        f"{layout.refs}/file",
        f"{layout.refs}/project/file",
        f"{layout.refs}/project/element/a key",
        f"{layout.refs}/pro ject/element/key",
    ):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
        with pytest.raises(VolumeFailed) as caught:
            list(refs.listing())
        assert path in str(caught.value)
        os.unlink(path)


def test_a_volume_without_the_folder_of_refs_is_an_error(refs):
    os.rmdir(refs.volume.layout.refs)
    with pytest.raises(VolumeFailed, match="mounted"):
        list(refs.listing())


def test_refs_that_vanish_during_a_listing_are_no_trouble(refs):
    for number in range(4):
        bind(refs, Ref("project", f"element{number}", "key"), operation=f"op{number}")
    listing = refs.listing()
    first = next(listing).ref
    for number in range(4):
        os.unlink(refs.volume.layout.ref(Ref("project", f"element{number}", "key")))
        refs.prune_parents(Ref("project", f"element{number}", "key"))
    assert list(listing) == []
    assert first.project == "project"


def test_publishing_again_replaces_the_ref(refs):
    bind(refs)
    bind(refs, record=RefRecord((ROOT,), serial=7), operation="op2")
    assert refs.read(REF).serial == 7
    assert len(list(refs.listing())) == 1


def test_what_refs_take_on_the_disk_is_counted_once_however_often_they_are_replaced(refs):
    account = Account()
    before = used_bytes(refs.volume)
    added = 0
    for number in range(3):
        staging = begin(refs.volume, f"op{number}", account)
        refs.publish(staging, refs.stage(staging, REF, RECORD), REF)
        staging.end()
        added += staging.added_bytes
    assert used_bytes(refs.volume) - before == added == refs.volume.block_bytes
    assert account.spent == added


def test_a_fenced_operation_cannot_publish(refs):
    staging = begin(refs.volume)
    staged = refs.stage(staging, REF, RECORD)
    fence(refs.volume)
    with pytest.raises(LeaseLost):
        refs.publish(staging, staged, REF)
    assert refs.read(REF) is None
    assert staging.added_bytes == 0


def test_a_ref_survives_somebody_pruning_its_folder_at_the_same_moment(tmp_path):
    """D-32: the element's folder goes between the look at it and the rename."""
    volume = new_volume(tmp_path, WatchedVolume)
    refs = Refs(volume)
    bind(refs)
    staging = begin(volume, "op2")
    staged = refs.stage(staging, REF, RECORD._replace(serial=5))
    gone = []

    def prune(verb, *paths):
        if verb == "replace" and not gone:
            gone.append(paths)
            os.unlink(volume.layout.ref(REF))
            refs.prune_parents(REF)
            assert not os.path.exists(f"{volume.layout.refs}/project")

    volume.before = prune
    refs.publish(staging, staged, REF)
    assert gone
    assert refs.read(REF).serial == 5


def test_pruning_stops_at_the_first_folder_that_is_not_empty(refs):
    bind(refs)
    bind(refs, Ref("project", "other", "key"), operation="op2")
    refs.prune_parents(REF)
    assert refs.read(REF) is not None
    os.unlink(refs.volume.layout.ref(REF))
    refs.prune_parents(REF)
    assert sorted(os.listdir(f"{refs.volume.layout.refs}/project")) == ["other"]
    os.unlink(refs.volume.layout.ref(Ref("project", "other", "key")))
    refs.prune_parents(Ref("project", "other", "key"))
    assert os.listdir(refs.volume.layout.refs) == []
    refs.prune_parents(REF)  # gone already


def test_a_touch_makes_a_ref_young(refs):
    bind(refs)
    path = refs.volume.layout.ref(REF)
    os.utime(path, ns=(1, 1))
    assert refs.touch(REF)
    assert next(refs.listing()).age_ns > 1
    assert os.stat(path).st_mtime_ns == 1


def test_reading_a_ref_does_not_make_it_young(refs):
    bind(refs)
    os.utime(refs.volume.layout.ref(REF), ns=(1, 2))  # older than its change: every reader would set it
    assert refs.read(REF) is not None
    assert [entry.age_ns for entry in refs.listing()] == [1]
    assert [entry.age_ns for entry in refs.listing()] == [1]


def test_a_ref_of_buildstream_1_without_its_build_tree_is_a_recorded_partial_one(refs, tmp_path):
    """AC-57, and its cleanup must not stop at a tree that was never whole."""
    tree = MemoryTree()
    buildtree = tree.folder(o=b"o")
    root = tree.folder(buildtree=buildtree, files=tree.folder(f=b"f"), logs=Digest.of(b""))
    blobs = blobs_of(begin(refs.volume))
    for hash_hex, data in tree.data.items():
        if hash_hex != buildtree.hash:
            blobs.add(data)
    put(refs.volume, bytes.fromhex("0a40") + root.hash.encode() + b"\x10" + bytes([root.size_bytes | 128, 1]))
    assert root.size_bytes in range(128, 256)
    assert refs.read(REF) == RefRecord((root,), scope=Scope.of(["buildtree"]))
    assert next(refs.listing()).record == refs.read(REF)
    blobs.add(tree.data[buildtree.hash])
    assert refs.read(REF).scope == WHOLE


def test_a_record_of_ours_says_its_scope_itself(refs, tmp_path):
    source = write_spec_tree(tmp_path / "source")
    capture(source, blobs_of(begin(refs.volume)), context=quiet())
    os.unlink(refs.volume.layout.object("e394f4f1e5d2f8a5d3e9c3d55ed7c3e2966679d235be7a2648895d173067298c"))
    bind(refs, record=RefRecord((ROOT,), serial=3), operation="op2")
    assert refs.read(REF).scope == WHOLE


def strangers_beside(refs):
    """One at each depth, and their paths."""
    layout = refs.volume.layout
    os.makedirs(f"{layout.refs}/project/element", exist_ok=True)
    os.symlink("/etc", f"{layout.refs}/project/etc")
    paths = (f"{layout.refs}/README", f"{layout.refs}/project/element/a key")
    for path in paths:
        with open(path, "wb"):
            pass
    return {f"{layout.refs}/project/etc", *paths}


def test_whoever_only_looks_goes_on_beside_strangers_and_learns_of_all_of_them(refs):
    bind(refs)
    expected = strangers_beside(refs)
    met = []
    assert [entry.ref for entry in refs.listing(strangers=met)] == [REF]
    assert set(met) == set(refs.strangers()) == expected
    assert refs.entry(REF).record == RECORD._replace(name=str(REF))
    assert refs.entry(Ref("project", "element", "other")) is None


def test_i9_a_stranger_still_stops_what_deletes_and_says_that_trying_again_does_not_help(refs):
    bind(refs)
    strangers_beside(refs)
    with pytest.raises(VolumeFailed, match="trying again does not help") as caught:
        list(refs.listing())
    assert "caskeeper verify" in caught.value.way_out
    assert caught.value.exit_code == 24


def test_what_is_odd_among_the_refs_is_told_without_a_look_at_what_is_behind_them(refs):
    bind(refs, Ref("project", "element", "good"))
    assert refs.odd() == ((), ())
    put(refs.volume, b"\xff")
    os.mkdir(refs.volume.layout.ref(Ref("project", "element", "folder")))
    expected = strangers_beside(refs)
    odd = refs.odd()
    assert set(odd.strangers) == expected
    assert set(odd.unreadable) == {REF, Ref("project", "element", "folder")}
