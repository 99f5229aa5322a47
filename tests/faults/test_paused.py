"""Whoever was paused beyond its lease finds out, and leaves nothing that is wrong (R-7, safety.md section 2).

First at every step of every verb, in one process; then with SIGSTOP and SIGCONT for a real worker.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from zlib import crc32

import pytest
from grpc import StatusCode
from harness.bindings import Refused
from harness.commands import until
from harness.crash_site import VERBS, prepare, rehearse, sites
from harness.processes import WAIT_S, seconds_since, stop_family
from harness.safety_report import record

from caskeeper.contract import CleanupRequest, ComputeSizeRequest
from caskeeper.errors import ArtifactNotFound, BlobMissing, LeaseLost

#: Every so many steps; 1 = all of them.
STRIDE = 1 if os.environ.get("CASKEEPER_TEST_PAUSES") == "all" else 24
#: What a verb may answer whose artifact was evicted while it stood still, and one that names content.
HONEST = (LeaseLost, ArtifactNotFound)
HONEST_OF_CONTENT = {"push of a directory": BlobMissing}
#: The same as a server says it: the lease was lost, content is missing.
REFUSALS = (StatusCode.ABORTED, StatusCode.FAILED_PRECONDITION)
STOPPED = "demo/stopped/1"


@pytest.fixture
def site(roomy, valkey, monkeypatch):
    with sites(roomy, valkey, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_stood_still_beyond_its_lease_while_everything_was_evicted(site, verb):
    steps, outcome = rehearse(site, verb)
    lost = 0

    def meanwhile():
        results = site.results
        site.make_ready()
        site.tick()
        site.run(CleanupRequest(target_bytes=0), ComputeSizeRequest())
        site.assert_sound()
        site.results = results

    for at in range(1 + crc32(verb.encode()) % STRIDE, steps + 1, STRIDE):
        request = prepare(site, verb)
        try:
            site.run(request, at=at, meanwhile=meanwhile)
        except (*HONEST, HONEST_OF_CONTENT.get(verb, LeaseLost)) as honest:
            lost += isinstance(honest, LeaseLost)
        except Refused as refused:
            lost += is_lease_lost(refused)
        site.assert_sound()
        site.empty()  # with an exact count
        site.run(prepare(site, verb))
        assert site.state() == outcome, f"paused before step {at} of {steps}"
        site.empty()
    record("crash points", {f"{verb}, paused": len(range(1, steps + 1, STRIDE))})
    assert lost or verb not in {"commit", "pull", "extract", "cleanup"}


def is_lease_lost(refused):
    """Whether a server said so; else it said that content is missing."""
    code = refused.args[0]
    assert code in REFUSALS, refused
    return code is StatusCode.ABORTED


def test_a_worker_that_was_stopped_beyond_its_lease_detects_the_loss(fleet, served, tell):
    """SIGSTOP in the middle of a commit, a cleanup of another worker, SIGCONT."""
    source = shutil.copytree(served.source, f"{fleet.folder}/source", symlinks=True)
    first = fleet.worker()
    job = fleet.client.commit(source, STOPPED)
    operation = fleet.halfway(STOPPED, served.size_bytes)
    moment = time.monotonic()
    stopped = stop_family(first.pid)
    try:
        assert STOPPED not in set(fleet.oracle.refs())
        fleet.worker()
        folder = f"{fleet.cachedir}/tmp/{operation.id}"

        def is_fenced():
            fleet.client.cleanup(target_bytes=0).result(WAIT_S)
            return not os.path.exists(folder)

        until(is_fenced, wait_s=WAIT_S)
        fenced = seconds_since(moment)
        assert fleet.oracle.troubles() == []
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    root = job.result(WAIT_S).root
    assert root
    tell(f"fenced {fenced:.1f} s after SIGSTOP, committed after {seconds_since(moment):.1f} s")
    until(lambda: "LeaseLost" in fleet.log_of(first) or "lease lost" in fleet.log_of(first), wait_s=WAIT_S)
    # On a busy machine the last of the cleanups above came after the other worker's commit.
    assert fleet.client.commit(source, STOPPED).result(WAIT_S).root == root
    assert STOPPED in set(fleet.oracle.refs())
    fleet.assert_all_consume()
    fleet.assert_sound()
