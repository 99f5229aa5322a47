"""Every kind of harm is found, told, and mended where it can be; real volume, real Valkey."""

import os
import shutil
import time

import pytest
from harness.verifying import (
    ALL,
    FILES,
    KEPT,
    OLD_NS,
    OTHER,
    assert_sound,
    damage_ref,
    files_of,
    flip,
    harm,
    list_of,
    object_of,
    orphan_object,
    root_hash,
    truncate,
    verify,
    write,
)

from caskeeper.artifact import Ref
from worker.services import findings as kinds


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
