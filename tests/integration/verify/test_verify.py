"""What `verify` leaves alone, what it waits for, and what it says; real volume, real Valkey."""

import os
import threading
import time

import pytest
from harness.fleet import Oracle, fleet
from harness.verifying import (
    ALL,
    FILES,
    KEPT,
    OTHER,
    age,
    assert_sound,
    commit,
    damage_ref,
    files_of,
    flip,
    leftovers,
    object_of,
    objects,
    orphan_object,
    root_hash,
    truncate,
    verify,
    write,
)

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    ExtractRequest,
    RemoveRequest,
)
from caskeeper.errors import Busy, InvalidRequest
from worker.protocols import quiet
from worker.services import findings as kinds
from worker.store.journal import Journal


def test_a_sound_volume_has_no_findings_and_nothing_on_it_is_younger_afterwards(services):
    before = {path: os.lstat(path) for path in files_of(services)}
    result = verify(services)
    assert (result.counts, result.findings, result.remarks) == ({}, (), ())
    assert (result.refs, result.objects, result.hashed_objects) == (3, len(objects(before)), result.objects)
    assert result.used_bytes == result.estimate_bytes == Oracle(services.layout.root).used_bytes()
    after = {path: os.lstat(path) for path in files_of(services)}
    assert {path: (one.st_ino, one.st_atime_ns) for path, one in after.items()} == {
        path: (one.st_ino, one.st_atime_ns) for path, one in before.items()
    }
    assert verify(services, repair=True).counts == {}
    assert_sound(services, refs=ALL)


def test_leavings_of_the_dead_are_told_and_cleared(impatient):
    services = impatient
    leftovers(services)
    time.sleep(2 * services.settings.leases.operation_s)
    told = verify(services)
    assert told.counts[kinds.STALE_TRASH] == 1
    assert told.counts[kinds.STALE_STAGING] == 2
    result = verify(services, repair=True)
    assert [finding for finding in result.findings if not finding.repaired] == []
    assert verify(services).counts == {}
    assert_sound(services, refs=ALL)


def test_i9_strangers_are_told_and_stay_and_as_long_as_one_is_among_the_refs_no_orphan_goes(services):
    orphan_object(services)
    stranger = f"{services.layout.refs}/p/README"
    others = [
        f"{services.layout.objects}/README",
        f"{services.layout.objects}/ab/README",
        f"{services.layout.extracts}/README",
        f"{services.layout.staging}/README",
        f"{services.layout.trashes}/README",
        f"{services.layout.root}/cas/README",
    ]
    for path in (stranger, *others):
        write(path)
    result = verify(services, repair=True)
    assert result.counts[kinds.STRANGER] == 7
    assert [finding.way_out for finding in result.findings if finding.kind == kinds.STRANGER] == [
        "move it out of the cache"
    ] * 7
    assert not any(finding.repaired for finding in result.findings if finding.kind == kinds.STRANGER)
    assert any("no ref" in remark for remark in result.remarks)
    assert all(os.path.exists(path) for path in (stranger, *others, object_of(services, b"nobody's")))
    os.unlink(stranger)
    assert verify(services, repair=True).counts[kinds.ORPHAN] == 1
    assert not os.path.exists(object_of(services, b"nobody's"))


def test_what_stood_in_the_place_of_a_ref_is_put_aside_and_not_deleted(services):
    path = services.layout.ref(Ref.parse(KEPT))
    os.unlink(path)
    for content in (b"precious", b"another"):  # the second one does not replace the first
        write(f"{path}/precious", content)
        result = verify(services, repair=True)
        [done] = [finding.done for finding in result.findings if finding.kind == kinds.KIND]
        with open(f"{done.removeprefix('moved to ')}/precious", "rb") as file:
            assert file.read() == content
    assert len(os.listdir(f"{services.layout.root}/damaged")) == 2


def test_young_things_are_nobodys_orphans(services):
    with services.desk.writer("commit", "test", quiet()) as operation:
        operation.blobs.write_batch([])
        digest = operation.blobs.add(b"not named yet")
        assert verify(services).counts == {}
        assert verify(services, repair=True).counts == {}
        assert operation.blobs.objects.read(digest) == b"not named yet"
    time.sleep(0.02)
    assert verify(services).counts[kinds.ORPHAN] == 1


def test_an_estimate_that_is_wrong_is_told_when_nobody_works_and_counted_anew(services):
    run = "test-0"
    maintenance = services.coordination.maintenance
    grant = maintenance.acquire(run, purpose="test")
    maintenance.give_back(run, grant.epoch, 4096)
    maintenance.release(run)
    with services.desk.writer("commit", "test", quiet()):
        assert verify(services).counts == {}, "somebody may just be adding so much"
    assert verify(services).counts == {kinds.ESTIMATE: 1}
    result = verify(services, repair=True)
    assert [(one.kind, one.repaired) for one in result.findings] == [(kinds.ESTIMATE, True)]
    assert_sound(services, refs=ALL)


def test_a_sample_hashes_a_share_but_sees_what_a_look_can_see(services):
    verify(services, repair=True, sample=0.000001)
    truncate(services)
    os.unlink(services.layout.object(root_hash(services, OTHER)))
    result = verify(services, sample=0.000001)
    assert result.hashed_objects < result.objects
    assert {kinds.DAMAGED, kinds.DANGLING} <= set(result.counts)


@pytest.mark.parametrize("sample", [0.0, -1.0, 100.5, float("nan")])
def test_a_sample_of_nothing_is_refused(services, sample):
    with pytest.raises(InvalidRequest, match="sample"):
        verify(services, sample=sample)


def test_what_was_taken_away_is_kept_and_told_and_is_written_anew_by_the_next_commit(services, tmp_path):
    flip(services)
    verify(services, repair=True)
    result = verify(services)
    assert result.counts == {}
    assert [os.path.dirname(path) for path in result.quarantined] == [services.layout.damaged]
    commit(services, tmp_path, KEPT, FILES)
    assert verify(services).counts == {}
    assert_sound(services, refs=[KEPT])


def test_section_7_nothing_is_repaired_before_the_waiting_period_after_a_loss_is_over(impatient, valkey):
    services = impatient
    orphan_object(services)
    damage_ref(services)
    with valkey.client() as client:
        client.flushall()
    result = verify(services)
    assert result.counts[kinds.STATE] == 1
    assert {kinds.UNREADABLE} <= set(result.counts)
    with pytest.raises(Busy, match="Redis lost its state"):
        verify(services, repair=True)
    assert os.path.exists(object_of(services, b"nobody's"))
    time.sleep(services.settings.leases.operation_s)
    result = verify(services, repair=True)
    assert [finding.kind for finding in result.findings if not finding.repaired] == [kinds.UNREADABLE]
    assert result.withdrawn == (KEPT,)


def test_a_removal_beside_it_is_no_finding(services):
    services.run(RemoveRequest(refs=(OTHER,)), quiet())
    assert verify(services).counts == {}


def test_beside_working_services_nothing_is_found_that_is_not_wrong(tmp_path, valkey):
    """Commits, extracts, removals and cleanups go on while another looks and repairs, again and again."""
    with fleet(tmp_path, valkey.url, count=2) as (first, second):
        kept, troubles = [], []

        def work():
            try:
                for number in range(12):
                    kept.append(f"p/e{number}/k")
                    commit(first, tmp_path, kept[-1], {"own": bytes([number]) * 9000, "shared": b"s" * 9000})
                    first.run(ExtractRequest(ref=kept[-1]), quiet())
                    if number % 3 == 2:
                        first.run(RemoveRequest(refs=(kept.pop(0),)), quiet())
                        first.run(CleanupRequest(target_bytes=2**40), quiet())
            except BaseException as trouble:  # noqa: BLE001 -- told by the thread that waits
                troubles.append(trouble)

        thread = threading.Thread(target=work)
        thread.start()
        results = []
        while thread.is_alive():
            results += [verify(second), verify(second, repair=True)]
        thread.join()
        assert troubles == []
        garbage = {kinds.ORPHAN, kinds.ORPHAN_LIST, kinds.ORPHAN_EXTRACT, kinds.ESTIMATE}
        assert [result.findings for result in results if set(result.counts) - garbage] == []
        age(second)
        verify(second, repair=True)
        assert verify(second).counts == {}
        assert_sound(second, refs=kept)


def test_what_a_server_took_in_and_nobody_named_is_no_orphan_and_goes_with_a_sweep(services):
    with services.desk.writer("serve", "test", quiet()) as operation:
        journal = Journal(operation.staging)
        operation.staging.announce = journal.note
        digest = operation.blobs.add(b"uploaded")
        journal.close()
    age(services)
    assert verify(services).counts == {}
    assert verify(services, repair=True).counts == {}
    assert not os.path.exists(services.layout.object(digest.hash))
    assert_sound(services, refs=ALL)
