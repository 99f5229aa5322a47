"""Directory messages made to harm: refused at the parser, or contained where they are laid out (I1, I9).

Here they are walked in memory, planted on the volume and extracted, and imported. The same cases as a
remote and a client send them: tests/contract/test_malicious_peers.py.
"""

from __future__ import annotations

import os

import pytest
from harness.malicious import CONTAINED, REFUSED, Lair
from harness.services import fake_services
from harness.snapshots import assert_only_objects, layout_of, snapshot
from harness.trees import listing

from caskeeper.artifact import Ref
from caskeeper.contract import ExtractRequest, ImportRequest
from caskeeper.digest import EMPTY
from caskeeper.errors import ArtifactNotFound, BlobMissing, DigestMismatch, InvalidRequest
from caskeeper.layout import Layout
from worker._protos import remote_execution_pb2 as reapi
from worker.closure import WHOLE, walk
from worker.directory import check_size, parse
from worker.protocols import quiet
from worker.store.refs import RefRecord, Refs

REF = Ref("demo", "evil", "key")
#: What refuses a tree; nothing else may come out (AC-80).
REFUSALS = (InvalidRequest, DigestMismatch, BlobMissing)


@pytest.fixture
def lair(tmp_path):
    return Lair.beside(tmp_path)


@pytest.fixture
def services(tmp_path):
    made = fake_services(tmp_path)
    yield made
    made.close()


def read_from(lair):
    """A reader that verifies nothing: what stands in the way of a lie here is the walk alone."""

    def read(digest):
        check_size(digest)
        if digest == EMPTY:
            return parse(b"", digest)
        data = lair.blobs.get(digest.hash, b"")
        if len(data) != digest.size_bytes:
            raise DigestMismatch("another size", str(digest))
        return parse(data, digest)

    return read


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def plant(services, lair, root):
    """As if an earlier version, or somebody with the volume mounted, had stored it without a look."""
    for hash_hex, data in lair.blobs.items():
        write(services.layout.object(hash_hex), data)
    with services.desk.writer("plant", "test", quiet()) as operation:
        refs = Refs(services.volume)
        refs.publish(
            operation.staging,
            refs.stage(operation.staging, REF, RefRecord.fresh((root,), origin="test")),
            REF,
        )


def test_there_are_many_cases():
    assert len(REFUSED) >= 40
    assert len(CONTAINED) >= 15


@pytest.mark.parametrize("case", REFUSED)
def test_a_walk_refuses_it(case, lair):
    root = REFUSED[case](lair)
    with pytest.raises(REFUSALS):
        walk(root, WHOLE, read_from(lair))


@pytest.mark.parametrize("case", [name for name in REFUSED if "lying" in name])
def test_a_walk_that_nobody_protects_from_lies_ends(case, lair):
    root = REFUSED[case](lair)
    with pytest.raises(InvalidRequest, match="contains itself"):
        walk(root, WHOLE, read_from(lair))


@pytest.mark.parametrize("case", CONTAINED)
def test_a_walk_takes_what_is_odd_and_legal(case, lair):
    root = CONTAINED[case](lair)
    assert walk(root, WHOLE, read_from(lair)).root == root


@pytest.mark.parametrize("case", REFUSED)
def test_on_the_volume_it_is_not_extracted(case, lair, services, tmp_path):
    root = REFUSED[case](lair)
    plant(services, lair, root)
    before = snapshot(str(tmp_path), without=(services.layout.root,))
    for destination in (None, str(tmp_path / "copy")):
        # What lies about its own hash is damage, and its ref is gone.
        with pytest.raises((*REFUSALS, ArtifactNotFound) if "lying" in case else REFUSALS):
            services.run(ExtractRequest(ref=str(REF), destination=destination), quiet())
    assert snapshot(str(tmp_path), without=(services.layout.root,)) == before
    assert_only_objects(services.layout.objects)
    assert not os.listdir(services.layout.staging)
    assert [name for _above, _folders, names in os.walk(services.layout.extracts) for name in names] == []


@pytest.mark.parametrize("case", REFUSED)
def test_from_another_cache_folder_it_is_not_taken_over(case, lair, services, tmp_path):
    """What is wrong below a folder of the root is left out with it, and the record says so (D-2)."""
    root, other = REFUSED[case](lair), Layout(tmp_path / "other")
    reference = reapi.Digest(hash=root.hash, size_bytes=root.size_bytes).SerializeToString()
    write(other.ref(REF), reference)
    for hash_hex, data in lair.blobs.items():
        write(other.object(hash_hex), data)
    before = snapshot(str(tmp_path), without=(services.layout.root,))
    services.run(ImportRequest(path=other.root), quiet())
    record = Refs(services.volume).read(REF)
    if record is not None:
        assert not record.scope.whole
        assert listing(services.run(ExtractRequest(ref=str(REF)), quiet()).path) == {}
    assert snapshot(str(tmp_path), without=(services.layout.root,)) == before
    assert_only_objects(services.layout.objects)


@pytest.mark.parametrize("case", CONTAINED)
def test_what_is_odd_and_legal_is_laid_out_as_it_is_and_nowhere_else(case, lair, services, tmp_path):
    root = CONTAINED[case](lair)
    plant(services, lair, root)
    copy = str(tmp_path / "copy")
    before = snapshot(str(tmp_path), without=(services.layout.root, copy))
    for destination in (None, copy):
        path = services.run(ExtractRequest(ref=str(REF), destination=destination), quiet()).path
        assert listing(path) == layout_of(root, lair.blobs)
    assert snapshot(str(tmp_path), without=(services.layout.root, copy)) == before
    assert_only_objects(services.layout.objects)


@pytest.mark.parametrize("subdir", ["d", "d/f", "e/../d", "../outside", "absolute", "/", "up/outside"])
def test_a_sub_directory_is_not_reached_through_a_link(subdir, lair, services, tmp_path):
    """What is named by --subdir is a folder of the tree: links are never followed, in no step."""
    inner = lair.folder(("file", "f", lair.evil))
    root = lair.folder(
        ("link", "absolute", lair.outside), ("link", "d", "e"), ("link", "up", ".."), ("folder", "e", inner)
    )
    plant(services, lair, root)
    before = snapshot(str(tmp_path), without=(services.layout.root,))
    for destination in (None, str(tmp_path / "copy")):
        with pytest.raises(InvalidRequest):
            services.run(ExtractRequest(ref=str(REF), subdir=subdir, destination=destination), quiet())
    assert snapshot(str(tmp_path), without=(services.layout.root,)) == before


def test_paths_longer_than_the_system_takes_leave_nothing_half_made(lair, services, tmp_path):
    """A private copy goes down by descriptors and comes out whole; a shared one is refused."""
    at = lair.folder(("file", "f", lair.evil))
    for _level in range(40):
        at = lair.folder(("folder", "n" * 250, at))
    plant(services, lair, at)
    with pytest.raises(InvalidRequest):
        services.run(ExtractRequest(ref=str(REF)), quiet())
    assert not os.listdir(services.layout.staging)
    copy = services.run(ExtractRequest(ref=str(REF), destination=str(tmp_path / "copy")), quiet()).path
    assert sum(len(names) for _above, _folders, names, _fd in os.fwalk(copy)) == 1
