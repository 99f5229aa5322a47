"""What is damaged is taken from its place and kept for a look, and nothing good is."""

import os

import pytest
from harness.damage import WRONG, flip
from harness.healing import FILE, OTHER, REF, is_sound, place, quarantine_now, quarantined
from harness.services import fake_services, make_tree
from harness.serving import make_old

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
)
from caskeeper.digest import Digest
from worker.protocols import quiet
from worker.store import quarantine
from worker.store.damage import damaged


@pytest.mark.parametrize("harm", ["flipped", "truncated", "empty"])
def test_a_damaged_file_is_taken_away_and_kept_for_a_look(services, harm):
    WRONG[harm](place(services))
    with open(place(services), "rb") as file:
        bytes_now = file.read()
    before = services.coordination.usage.snapshot().used_bytes
    assert quarantine_now(services)
    assert not os.path.lexists(place(services))
    with open(f"{services.layout.damaged}/{FILE.hash}", "rb") as file:
        assert file.read() == bytes_now
    assert services.coordination.usage.snapshot().used_bytes == before


@pytest.mark.parametrize("harm", ["folder", "link", "dangling link"])
def test_what_is_no_file_is_taken_away_and_what_a_link_leads_to_stays(services, tmp_path, harm):
    WRONG[harm](place(services))
    elsewhere = sorted(os.listdir(f"{services.layout.root}/elsewhere")) if harm == "link" else []
    assert quarantine_now(services)
    assert not os.path.lexists(place(services))
    assert quarantined(services) == []
    assert harm != "link" or sorted(os.listdir(f"{services.layout.root}/elsewhere")) == elsewhere != []


def test_a_good_object_stays_whatever_is_said_of_it(services):
    assert not quarantine_now(services)
    assert not quarantine_now(services, Digest(FILE.hash, 5))
    assert not quarantine_now(services, Digest.of(b"never here"))
    is_sound(services)


def test_an_executable_copy_is_taken_by_its_own_bytes(services):
    services.run(ExtractRequest(ref=REF), quiet())
    copies = services.layout.executables
    ((folder, name),) = [(above, name) for above, _, names in os.walk(copies) for name in names]
    digest = Digest(os.path.basename(folder) + name, os.stat(f"{folder}/{name}").st_size)
    flip(f"{folder}/{name}")
    assert quarantine_now(services, digest)
    assert not os.path.exists(f"{folder}/{name}")
    assert os.path.exists(place(services, digest))
    services.run(ExtractRequest(ref=REF), quiet())
    is_sound(services)


def test_checkouts_with_links_to_it_go_with_it(services, tmp_path):
    other = services.run(CommitRequest(path=str(tmp_path / "src/buildtree"), refs=(OTHER,)), quiet())
    tree = tmp_path / "unrelated"
    tree.mkdir()
    (tree / "plain").write_bytes(b"plain")
    services.run(CommitRequest(path=str(tree), refs=("demo/plain/k1",)), quiet())
    paths = [services.run(ExtractRequest(ref=ref), quiet()).path for ref in (REF, OTHER, "demo/plain/k1")]
    assert other.root in paths[1] or os.path.isdir(paths[1])
    flip(place(services))
    assert quarantine_now(services)
    assert [os.path.isdir(path) for path in paths] == [False, False, True]


def test_few_are_kept_and_the_oldest_go_first(services, monkeypatch, tmp_path):
    monkeypatch.setattr(quarantine, "MOST", 2)
    tree = tmp_path / "many"
    tree.mkdir()
    contents = [b"number %d" % number for number in range(4)]
    for content in contents:
        (tree / content.decode()).write_bytes(content)
    services.run(CommitRequest(path=str(tree), refs=(OTHER,)), quiet())
    for number, content in enumerate(contents, start=1):
        flip(place(services, Digest.of(content)))
        quarantine_now(services, Digest.of(content))
        os.utime(f"{services.layout.damaged}/{Digest.of(content).hash}", ns=(number * 10**9, 0))
    assert quarantined(services) == sorted(Digest.of(content).hash for content in contents[2:])
    used = services.coordination.usage.snapshot().used_bytes
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_large_one_is_not_kept(services, monkeypatch):
    monkeypatch.setattr(quarantine, "MOST_BYTES", 10)
    flip(place(services))
    assert quarantine_now(services)
    assert quarantined(services) == []


def test_the_second_of_one_hash_is_not_kept(pushed):
    for _time in range(2):
        flip(place(pushed))
        assert quarantine_now(pushed)
        assert pushed.healing.restore([FILE], ["demo"], quiet()).back == {FILE}
    assert quarantined(pushed) == [FILE.hash]
    is_sound(pushed)
    used = pushed.coordination.usage.snapshot().used_bytes
    assert pushed.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_cleanup_that_needs_room_takes_them_first(pushed):
    flip(place(pushed))
    pushed.healing.heal(damaged(FILE, ""), quiet())
    assert quarantined(pushed) == [FILE.hash]
    before = pushed.coordination.usage.snapshot().used_bytes
    pushed.run(CleanupRequest(target_bytes=before - 1), quiet())
    assert quarantined(pushed) == []
    assert pushed.listing.contains(Ref.parse(REF))
    used = pushed.coordination.usage.snapshot().used_bytes
    assert pushed.run(ComputeSizeRequest(), quiet()).used_bytes == used


def test_a_cleanup_leaves_alone_what_somebody_may_be_bringing_back(pushed):
    """Whoever took it away has an operation that is older; it may be asking a remote just now."""
    flip(place(pushed))
    with pushed.desk.writer("heal", "", quiet()):
        quarantine_now(pushed)
        pushed.run(CleanupRequest(target_bytes=0), quiet())
        assert pushed.healing.restore([FILE], ["demo"], quiet()).back == {FILE}
    assert pushed.listing.contains(Ref.parse(REF))
    is_sound(pushed)


def cleaned_after_a_healer_died(services):
    """A writer that had relied on the object publishes after the healing; or the healer died."""
    flip(place(services))
    quarantine_now(services)
    make_old(f"{services.layout.damaged}/{FILE.hash}")
    before = services.coordination.usage.snapshot().used_bytes
    services.run(CleanupRequest(target_bytes=before), quiet())


def test_a_cleanup_withdraws_again_once_everybody_of_that_time_has_ended(tmp_path):
    services = fake_services(tmp_path)
    services.run(CommitRequest(path=make_tree(tmp_path / "src"), refs=(REF,)), quiet())
    cleaned_after_a_healer_died(services)
    assert services.listing.list() == []
    assert quarantined(services) == [FILE.hash]
    services.run(CleanupRequest(target_bytes=0), quiet())
    assert quarantined(services) == []
    services.close()


def test_a_cleanup_withdraws_nothing_that_a_remote_may_have(pushed):
    """No cleanup asks one: the next reader does."""
    cleaned_after_a_healer_died(pushed)
    assert [entry.ref for entry in pushed.listing.list()] == [REF]
    pushed.run(ExtractRequest(ref=REF), quiet())
    is_sound(pushed)
