"""Verify: every kind of harm is found, told, and mended where it can be; real volume, real Valkey."""

import os
import shutil
import threading
import time

import pytest
from harness.fleet import Oracle, fleet, quick, write_tree

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ExtractRequest,
    LinkRequest,
    RemoveRequest,
    VerifyRequest,
)
from caskeeper.errors import Busy, InvalidRequest
from worker.closure import WHOLE
from worker.protocols import quiet
from worker.services import findings as kinds
from worker.store.journal import Journal

KEPT, OTHER = "p/kept/k1", "p/other/k2"
FILES = {"own": b"own" * 1000, "x:bin/run": b"#!run", "deep/er/file": b"deep", "l:link": b"own"}
OLD_NS = 1_500_000_000 * 10**9


@pytest.fixture
def services(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        commit(services, tmp_path, KEPT, FILES)
        commit(services, tmp_path, OTHER, {"own": b"other" * 500, "shared": FILES["own"]})
        services.run(ExtractRequest(ref=KEPT), quiet())
        services.run(LinkRequest(ref=KEPT, key="weak"), quiet())
        age(services)
        yield services


@pytest.fixture
def impatient(tmp_path, valkey):
    """Leases so short that they can be waited for."""
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=0.4, session_s=0.4)) as services:
        commit(services, tmp_path, KEPT, FILES)
        commit(services, tmp_path, OTHER, {"own": b"other" * 500})
        services.run(LinkRequest(ref=KEPT, key="weak"), quiet())
        age(services)
        yield services


def commit(services, folder, ref, files):
    source = write_tree(f"{folder}/src-{ref.replace('/', '-')}", files)
    try:
        return services.run(CommitRequest(path=source, refs=(ref,)), quiet())
    finally:
        shutil.rmtree(source)


def age(services):
    """Everything published is older than any horizon that is to come, and the volume's clock has ticked."""
    for path in files_of(services):
        os.utime(path, ns=(OLD_NS, os.lstat(path).st_mtime_ns), follow_symlinks=False)
    time.sleep(0.02)


def files_of(services):
    return sorted(Oracle(services.layout.root)._files(f"{services.layout.root}/cas"))


def verify(services, **options):
    return services.run(VerifyRequest(**options), quiet())


def record(services, ref):
    return services.maintenance.refs.read(Ref.parse(ref))


def object_of(services, content):
    from caskeeper.digest import Digest

    return services.layout.object(Digest.of(content).hash)


def harm(path, data=b"x"):
    """Behind the cache's back: other bytes under the same name, of the same length or another."""
    status = os.lstat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(data)
    os.chmod(path, status.st_mode & 0o777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write(path, data=b"junk"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o444)
    os.utime(path, ns=(OLD_NS, 1_000_000_000 * 10**9))


def root_hash(services, ref=KEPT):
    return record(services, ref).root.hash


def list_of(services, ref=KEPT):
    return services.layout.closure(root_hash(services, ref), WHOLE.id)


def assert_sound(services, *, refs):
    oracle = Oracle(services.layout.root)
    assert sorted(oracle.refs()) == sorted(refs)
    assert oracle.troubles() == []
    assert oracle.leavings() == []
    usage = services.coordination.usage.snapshot()
    assert (usage.used_bytes, usage.reserved_bytes) == (oracle.used_bytes(), 0)


ALL = [KEPT, OTHER, "p/kept/weak"]


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


def objects(paths):
    return [path for path in paths if "/objects/" in path or "/executables/" in path]


def flip(services):
    harm(object_of(services, FILES["own"]))


def truncate(services):
    path = object_of(services, FILES["own"])
    os.chmod(path, 0o644)
    os.truncate(path, 5)
    os.chmod(path, 0o444)


def lose(services):
    os.unlink(object_of(services, FILES["own"]))


def lose_directory(services):
    os.unlink(services.layout.object(root_hash(services)))


def lose_directory_and_list(services):
    lose_directory(services)
    os.unlink(list_of(services))


def replace_by_folder(services):
    path = object_of(services, FILES["own"])
    os.unlink(path)
    os.makedirs(f"{path}/with")


def replace_by_link(services):
    path = object_of(services, FILES["own"])
    os.unlink(path)
    os.symlink("/dev/null", path)


def damage_ref(services):
    harm(services.layout.ref(Ref.parse(KEPT)), b"\xff\xff\xff")


def ref_is_folder(services):
    os.unlink(services.layout.ref(Ref.parse(KEPT)))
    os.mkdir(services.layout.ref(Ref.parse(KEPT)))


OWN_GONE, KEPT_GONE = [], [OTHER, "p/kept/weak"]


@pytest.mark.parametrize(
    ("what", "found", "left"),
    [
        (flip, {kinds.DAMAGED}, OWN_GONE),
        (truncate, {kinds.DAMAGED, kinds.TIME}, OWN_GONE),
        (lose, {kinds.DANGLING}, OWN_GONE),
        (lose_directory, {kinds.DANGLING}, [OTHER]),
        (lose_directory_and_list, {kinds.DANGLING}, [OTHER]),
        (replace_by_folder, {kinds.KIND, kinds.DANGLING}, OWN_GONE),
        (replace_by_link, {kinds.KIND, kinds.DANGLING}, OWN_GONE),
        (damage_ref, {kinds.UNREADABLE}, KEPT_GONE),
        (ref_is_folder, {kinds.KIND}, KEPT_GONE),
    ],
)
def test_what_cannot_be_brought_back_is_taken_away_and_the_rest_is_sound(services, what, found, left):
    what(services)
    told = verify(services)
    assert set(told.counts) - {kinds.ESTIMATE} == found
    assert not any(finding.repaired for finding in told.findings)
    assert all(finding.way_out for finding in told.findings)
    result = verify(services, repair=True)
    assert [finding for finding in result.findings if not finding.repaired and not finding.withdrawn] == []
    assert list(result.withdrawn) == sorted(set(ALL) - set(left))
    assert {ref for finding in result.findings for ref in finding.withdrawn} == set(result.withdrawn)
    assert all("no remote" in one.done or "moved to" in one.done for one in result.findings if one.withdrawn)
    assert result.repaired == sum(finding.repaired for finding in result.findings)
    assert verify(services).counts == {}
    assert_sound(services, refs=left)


def wrong_mode(services):
    os.chmod(object_of(services, FILES["own"]), 0o666)


def wrong_mode_of_executable(services):
    [path] = [path for path in files_of(services) if "/executables/" in path]
    os.chmod(path, 0o444)


def wrong_mode_of_list(services):
    os.chmod(list_of(services), 0o600)


def wrong_time(services):
    os.utime(services.layout.ref(Ref.parse(KEPT)), ns=(OLD_NS, OLD_NS))


def damage_executable(services):
    [path] = [path for path in files_of(services) if "/executables/" in path]
    harm(path)


def damage_list(services):
    harm(list_of(services))


def lose_list(services):
    os.unlink(list_of(services))


def list_of_another(services):
    path = list_of(services)
    os.unlink(path)
    shutil.copyfile(list_of(services, OTHER), path)
    os.chmod(path, 0o444)
    os.utime(path, ns=(OLD_NS, 1_000_000_000 * 10**9))


def list_is_folder(services):
    os.unlink(list_of(services))
    os.mkdir(list_of(services))


def orphan_object(services):
    write(object_of(services, b"nobody's"), b"nobody's")


def orphan_executable(services):
    from caskeeper.digest import Digest

    write(services.layout.executable(Digest.of(b"nobody's").hash), b"nobody's")
    os.chmod(services.layout.executable(Digest.of(b"nobody's").hash), 0o555)


def orphan_list(services):
    os.unlink(services.layout.ref(Ref.parse(OTHER)))
    services.maintenance.refs.prune_parents(Ref.parse(OTHER))


def orphan_extract(services):
    os.makedirs(f"{services.layout.extracts}/p/kept/{'ab' * 32}/x")
    time.sleep(0.02)


def leftovers(services):
    write(f"{services.layout.staging}/FORMAT.{'0' * 32}")
    for folder in (services.layout.operation("commit-dead"), services.layout.trash("cleanup-dead")):
        os.mkdir(folder)
        write(f"{folder}/1", b"half")
        os.utime(folder, ns=(OLD_NS, OLD_NS))


@pytest.mark.parametrize(
    ("what", "found", "lost"),
    [
        (wrong_mode, {kinds.MODE}, set()),
        (wrong_mode_of_executable, {kinds.MODE}, set()),
        (wrong_mode_of_list, {kinds.MODE}, set()),
        (wrong_time, {kinds.TIME}, set()),
        (damage_executable, {kinds.DAMAGED_EXECUTABLE}, set()),
        (damage_list, {kinds.LIST}, set()),
        (lose_list, {kinds.LIST}, set()),
        (list_of_another, {kinds.LIST}, set()),
        (list_is_folder, {kinds.LIST, kinds.KIND}, set()),
        (orphan_object, {kinds.ORPHAN}, set()),
        (orphan_executable, {kinds.ORPHAN_EXECUTABLE}, set()),
        (orphan_list, {kinds.ORPHAN_LIST}, {OTHER}),
        (orphan_extract, {kinds.ORPHAN_EXTRACT}, set()),
    ],
)
def test_what_is_derived_or_needed_by_nobody_costs_no_artifact(services, what, found, lost):
    what(services)
    before = [(path, os.lstat(path).st_ino) for path in files_of(services)]
    told = verify(services)
    assert set(told.counts) - {kinds.ESTIMATE} == found
    assert [(path, os.lstat(path).st_ino) for path in files_of(services)] == before, "only told"
    result = verify(services, repair=True)
    assert set(result.counts) - {kinds.ESTIMATE} == found
    assert [finding for finding in result.findings if not finding.repaired] == []
    assert all(finding.done for finding in result.findings)
    assert verify(services).counts == {}
    assert_sound(services, refs=set(ALL) - lost)


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
