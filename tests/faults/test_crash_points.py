"""A process that dies before any of its steps (safety.md section 8): the volume is sound then (I1 to I3, I5,
I7), the verb run again succeeds (I8), and a recount and a cleanup leave nothing behind.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from harness.crash_site import K1, LEASES, VERBS, commit, prepare, rehearse, sites, what_is_left
from harness.damage import EVERY
from harness.full_disk import NoLinks, can_fail
from harness.safety_report import record
from harness.volumes import Dead

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, PullRequest
from caskeeper.digest import Digest
from worker.server.rolling import Rolling
from worker.store.blobs import StoreBlobs
from worker.store.objects import Objects
from worker.store.promises import Promises

#: Two faults, one after the other: every third step of these, all of them in the long run.
STRIDES = {
    "cleanup after a dead cleanup": 3,
    "commit of what a dead cleanup has taken": 3,
    "commit after a loss": 3,
}
if os.environ.get("CASKEEPER_TEST_PAUSES") == "all":
    STRIDES = {}


@pytest.fixture
def site(roomy, valkey, monkeypatch):
    with sites(roomy, valkey, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_die_before_any_of_its_steps(site, verb):
    steps, outcome = rehearse(site, verb)
    assert steps >= 5
    points = range(1, steps + 1, STRIDES.get(verb, 1))
    for at in points:
        request = prepare(site, verb)
        with pytest.raises(Dead):
            site.run(request, at=at)
        site.assert_sound()
        site.expire()
        site.run(*what_is_left(site, request))
        site.assert_sound()
        assert site.state() == outcome, f"dead before step {at} of {steps}"
        site.empty()
    record("crash points", {verb: len(points)})


def test_an_extract_by_copies_may_die_before_any_of_its_steps(site, monkeypatch):
    """On a file system that refuses hard links (R-25): copies are whole, counted, and found again."""
    can_fail(monkeypatch)
    site.run(prepare(site, "extract"))
    site.empty()
    site.thin_out()
    steps = site.run(prepare(site, "extract"), disk=NoLinks())
    outcome = site.state()
    site.assert_exact()
    by_links = [path for path in checked_out(site) if os.stat(path).st_nlink > 1]
    assert by_links == []
    site.empty()
    for at in range(1, steps + 1):
        request = prepare(site, "extract")
        with suppress(Dead):  # two threads copy: they may need a reservation more or less than that
            site.run(request, at=at, disk=NoLinks())
        site.assert_sound()
        site.expire()
        site.run(request, disk=NoLinks())
        site.assert_sound()
        assert site.state() == outcome, f"dead before step {at} of {steps}"
        site.empty()
    record("crash points", {"extract by copies": steps})


@pytest.mark.parametrize("harm", ["truncated", "deleted"])
def test_a_pull_that_heals_may_die_before_any_of_its_steps(site, harm):
    """An object that a remote has is found damaged or gone: quarantined, fetched again, and nothing else."""

    def damaged():
        site.run(PullRequest(ref=K1))
        site.tick()
        EVERY[harm](site.layout.object(Digest.of(b"hello\n").hash))
        return PullRequest(ref=K1)

    def heal():
        site.run(damaged())
        site.empty()

    heal()
    site.thin_out()
    steps = site.run(damaged())
    site.assert_sound()
    outcome = site.state()
    site.empty()
    for at in range(1, steps + 1):
        request = damaged()
        with pytest.raises(Dead):
            site.run(request, at=at)
        usage = site.usage()
        assert usage.used_bytes + usage.reserved_bytes >= site.oracle.used_bytes()
        site.expire()
        site.run(request)
        site.assert_sound()
        assert site.state() == outcome, f"dead before step {at} of {steps}"
        site.run(CleanupRequest(target_bytes=0))  # what lies in quarantine goes too
        site.empty()
    record("crash points", {f"pull that heals, object {harm}": steps})


def checked_out(site):
    for above, _folders, names in os.walk(site.layout.extracts):
        for name in names:
            if not os.path.islink(f"{above}/{name}"):
                yield f"{above}/{name}"


BLOBS = [b"one", b"hello\n", b"three" * 1000]


def upload(services):
    """A server that takes in some blobs, one of them in pieces, and is stopped."""
    promises = Promises(services.volume)
    rolling = Rolling(services.desk, promises, subject="here", grace_s=LEASES.upload_grace_s)
    try:
        with rolling.lent(lambda: None) as operation:
            blobs = StoreBlobs(operation.staging, Objects(services.volume))
            blobs.write_batch([(Digest.of(data), data) for data in BLOBS])
            arriving = blobs.receive(Digest.of(b"in pieces"))
            arriving.write(b"in ")
            arriving.pause()
            arriving.resume()
            arriving.write(b"pieces")
            blobs.complete(arriving)
    finally:
        rolling.close()


def unlisted(*_arguments, **_options):
    raise AssertionError("the folder of all objects was listed")


def assert_uploads_go_unlisted(site):
    """Whatever is there that no ref names is taken by a cleanup that reads nothing but journals."""
    site.expire()
    site.forget_promises()
    site.tick()
    site.run(ComputeSizeRequest())
    site.assert_exact()
    site.run(CleanupRequest(target_bytes=2**40))
    site.assert_exact()
    assert os.listdir(site.layout.staging) == []


@pytest.mark.parametrize("named", [False, True], ids=["nothing named", "something named"])
def test_a_server_may_die_at_any_step_and_what_it_took_in_is_found_by_its_journal(site, monkeypatch, named):
    monkeypatch.setattr("worker.services.cleanup.sweep", unlisted)
    if named:
        site.run(upload, commit(site))  # of which one file was uploaded
        assert_uploads_go_unlisted(site)
    kept = sorted(site.oracle.names())
    steps = site.run(upload)
    assert steps > 20
    for at in range(1, steps + 1):
        assert_uploads_go_unlisted(site)
        assert sorted(site.oracle.names()) == kept
        with pytest.raises(Dead):
            site.run(upload, at=at)
        site.assert_sound()
    assert_uploads_go_unlisted(site)
    assert sorted(site.oracle.names()) == kept


def test_a_cleanup_of_uploads_may_die_at_any_step(site, monkeypatch):
    def prepare():
        site.run(upload, commit(site))
        site.forget_promises()
        site.tick()

    prepare()
    steps = site.run(CleanupRequest(target_bytes=2**40))
    kept = sorted(site.oracle.names())
    monkeypatch.setattr("worker.services.cleanup.sweep", unlisted)
    for at in range(1, steps + 1):
        prepare()
        with pytest.raises(Dead):
            site.run(CleanupRequest(target_bytes=2**40), at=at)
        site.assert_sound()
        assert_uploads_go_unlisted(site)
        assert sorted(site.oracle.names()) == kept, f"dead before step {at} of {steps}"
