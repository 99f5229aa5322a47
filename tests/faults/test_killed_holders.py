"""kill -9 of whoever holds something: who waits for it goes on within one lease life (R-8).

Every wait here is bounded by the product itself, with one lease life and a little: what took longer would be
Busy or NoSpace.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest
from harness.commands import until
from harness.fleet import Oracle, write_tree
from harness.holders import LIFE_S, REF, beginning, killed_holder, open_services

from caskeeper.artifact import Ref
from caskeeper.contract import (
    CleanupRequest,
    CommitRequest,
    ComputeSizeRequest,
    ExtractRequest,
    RemoveRequest,
)
from caskeeper.errors import ArtifactNotFound, Busy
from worker.protocols import quiet
from worker.services import operations, room
from worker.store.format import creation_lock
from worker.store.volume import Volume

#: One lease life, and what a loaded machine needs on top.
PATIENCE_S = LIFE_S + 10


@pytest.fixture
def after(tmp_path, valkey, monkeypatch):
    """``with after(kind) as services``: REF is there, and who held a thing was killed."""
    monkeypatch.setattr(room, "WAIT_S", PATIENCE_S)
    monkeypatch.setattr(operations, "HOLD_WAIT_S", PATIENCE_S)

    @contextmanager
    def after(kind):
        services = open_services(tmp_path, valkey.url)
        try:
            services.run(CommitRequest(path=tree(tmp_path, "held"), refs=(REF,)), quiet())
            killed_holder(kind, tmp_path, valkey.url)
            yield services
            services.run(ComputeSizeRequest(), quiet())
            oracle = Oracle(services.layout.root)
            assert oracle.troubles() == []
            assert oracle.leavings() == []
            assert services.coordination.usage.snapshot().used_bytes == oracle.used_bytes()
        finally:
            services.close()

    return after


def tree(folder, name, *, size=100_000):
    return write_tree(folder / name, {"large": os.urandom(size), "small": name.encode()})


def refs_of(services):
    return sorted(Oracle(services.layout.root).refs())


def test_the_maintenance_lease_of_a_killed_cleanup_is_taken_over(after):
    with after("maintenance") as services:
        result = services.cleanup.clean(target_bytes=0, dry_run=False, context=quiet(), wait_s=PATIENCE_S)
        assert result.evicted_refs == 1


def test_what_a_killed_cleanup_was_about_to_take_is_committed_anew(after, tmp_path):
    with after("condemnation") as services:
        services.run(CommitRequest(path=f"{tmp_path}/held", refs=(REF, "p/held/k2")), quiet())
        assert refs_of(services) == [REF, "p/held/k2"]


def test_what_a_killed_cleanup_was_about_to_take_is_read_again(after):
    with after("condemnation") as services:

        def path():
            try:
                return services.run(ExtractRequest(ref=REF), quiet()).path
            except (ArtifactNotFound, Busy):
                return None

        assert os.path.isfile(f"{until(path, wait_s=PATIENCE_S)}/large")


def test_what_a_killed_writer_had_reserved_is_there_for_the_next(after, tmp_path):
    with after("reservation") as services:
        services.run(CommitRequest(path=tree(tmp_path, "next", size=500_000), refs=("p/next/k",)), quiet())
        assert "p/next/k" in refs_of(services)


def test_what_a_killed_reader_had_claimed_may_be_removed(after):
    with after("claim") as services:

        def removed():
            try:
                return services.run(RemoveRequest(refs=(REF,)), quiet()).removed
            except Busy:
                return ()

        assert until(removed, wait_s=PATIENCE_S) == (REF,)


def test_what_a_killed_build_required_may_be_evicted(after):
    with after("session") as services:

        def evicted():
            services.run(CleanupRequest(target_bytes=0), quiet())
            return refs_of(services) == []

        until(evicted, wait_s=PATIENCE_S)


def test_the_job_of_a_killed_worker_is_taken_by_the_next(after):
    with after("execution") as services:
        jobs = services.coordination.flights.jobs
        second = beginning("second", life_s=LIFE_S)
        until(lambda: jobs.take(second).word == "OK", wait_s=PATIENCE_S)
        assert not jobs.renew("job", second.flight, "first", life_s=LIFE_S).held


def test_the_creation_lock_of_a_killed_process_is_free_at_once(after):
    with after("creation") as services, creation_lock(Volume(services.layout), wait_s=0):
        assert services.maintenance.refs.read(Ref.parse(REF)) is not None
