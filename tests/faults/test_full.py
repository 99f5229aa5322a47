"""A disk that is full or broken from the middle of a verb on: NoSpace or done, nothing half-published,
nothing counted wrong, and the verb succeeds when there is room again (I5, I8, I10).

The system call of each change fails in turn, for every verb. What a real file system does then is in
``test_full_for_real``.
"""

from __future__ import annotations

import contextlib
import os
from zlib import crc32

import pytest
from harness.crash_site import VERBS, prepare, sites, what_is_left
from harness.full_disk import FailingDisk, FullDisk, can_fail
from harness.safety_report import record

from caskeeper.errors import NoSpace, VolumeFailed

#: Every change, failing once and failing for good; otherwise every third one, this way or that.
ALL = os.environ.get("CASKEEPER_TEST_FULL_DISK") == "all"
STRIDE = 1 if ALL else 3


@pytest.fixture
def site(roomy, valkey, monkeypatch):
    with sites(roomy, valkey, monkeypatch) as made:
        can_fail(monkeypatch)
        yield made


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_may_be_full_at_any_change_of_a_verb(site, verb):
    site.run(prepare(site, verb))
    site.empty()
    site.thin_out()
    disk = FullDisk()
    site.run(prepare(site, verb), disk=disk)
    outcome = site.state()
    site.empty()
    points = range(1 + crc32(verb.encode()) % STRIDE, disk.changes + 1, STRIDE)
    refused = 0
    for at in points:
        for once in (False, True) if ALL else (bool(at % 2),):
            refused += fill(site, verb, FullDisk(at, once=once), outcome)
    record("crash points", {f"{verb}, disk full": len(points)})
    assert refused


def fill(site, verb, disk, outcome):
    """Whether the verb was refused."""
    request = prepare(site, verb)
    dead = pending(site)
    said = f"full at change {disk.at}{' only' if disk.once else ''}"
    refused = False
    try:
        site.run(request, disk=disk)
    except NoSpace:
        refused = True
    assert disk.failed or not refused, said
    site.assert_sound()
    if not disk.once:  # what makes room was possible: nothing is left over, nobody waits for a lease
        assert pending(site) <= dead, said
    site.expire()
    site.run(*(what_is_left(site, request) if refused else []))
    site.assert_sound()
    assert site.state() == outcome, said
    site.empty()
    return refused


def pending(site):
    """What is not over, by name: folders below tmp/ and trash/, and records of operations.

    A recovery makes the folder of a dead one known again: that is one thing.
    """
    state = site.coordination.state()
    known = [] if state.lost else site.coordination.operations.list()
    left = [os.path.basename(path).rpartition(".recovers.") for path in site.oracle.leavings()]
    return {name[-32:] for _by, _recovers, name in left} | {record.id[-32:] for record in known}


@pytest.mark.parametrize(
    "verb", ["commit", "pull", "extract", "import", "cleanup", "server's update of an action"]
)
def test_a_disk_that_breaks_in_a_verb_is_counted_for_what_is_left_on_it(site, verb):
    """Nothing can be removed any more either (a file system that was remounted read-only), Redis goes on."""
    site.thin_out()
    disk = FailingDisk()
    site.run(prepare(site, verb), disk=disk)
    outcome = site.state()
    site.empty()
    for at in range(1, disk.changes + 1, STRIDE):
        request = prepare(site, verb)
        with contextlib.suppress(VolumeFailed):
            site.run(request, disk=FailingDisk(at))
        site.assert_sound()
        site.expire()
        site.run(request)
        site.assert_sound()
        assert site.state() == outcome, f"broken at change {at}"
        site.empty()
