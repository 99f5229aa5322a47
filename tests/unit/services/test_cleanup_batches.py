"""Groups that share their calls of Redis go by the steps of one alone: each for itself, and none too many."""

from __future__ import annotations

import os
import time

import pytest
from harness.coordination import fake_coordination
from harness.fleet import Oracle
from harness.services import fake_services
from harness.volumes import new_volume

from caskeeper.artifact import Ref
from caskeeper.config import LeaseSettings
from caskeeper.contract import CleanupRequest, CommitRequest, ComputeSizeRequest
from worker.protocols import quiet
from worker.services import batches
from worker.services.eviction import Evictor
from worker.services.plan import Planned
from worker.store.refs import RefRecord

COUNT = 40


@pytest.fixture
def services(tmp_path):
    """Artifacts with a file of their own, and one that all of them have."""
    coordination = fake_coordination(leases=LeaseSettings(clock_margin_s=0.0))
    made = fake_services(tmp_path, volume=new_volume(tmp_path), coordination=coordination)
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "shared").write_bytes(b"shared" * 1000)
    for number in range(COUNT):
        (folder / "own").write_bytes(bytes([number]) * 5000)
        made.run(CommitRequest(path=str(folder), refs=(f"p/e{number}/key{number}",)), quiet())
        time.sleep(0.002)
    time.sleep(0.02)  # a tick of every clock
    yield made
    made.close()


def clean(services, target_bytes=0, **options):
    return services.run(CleanupRequest(target_bytes=target_bytes, **options), quiet())


def here(services):
    return {str(entry.ref) for entry in services.maintenance.refs.listing()}


def assert_exact(services):
    assert Oracle(services.layout.root).troubles() == []
    used_bytes = services.space.used_bytes()
    assert services.run(ComputeSizeRequest(), quiet()).used_bytes == used_bytes


def test_half_of_a_cache_goes_in_few_calls_of_redis_and_never_below_its_target(services, monkeypatch):
    asked = []
    maintenance = services.coordination.maintenance
    condemn = maintenance.condemn
    monkeypatch.setattr(
        maintenance,
        "condemn",
        lambda *args, **names: asked.append(len(names["refs"])) or condemn(*args, **names),
    )
    used = services.space.used_bytes()
    result = clean(services, used // 2)
    largest = max(group.frees_bytes for group in result.groups)
    assert used // 2 - largest < result.used_after_bytes <= used // 2
    assert sum(asked) == result.evicted_refs == COUNT - len(here(services)) > 10
    assert len(asked) < result.evicted_refs / 2
    assert_exact(services)


def test_one_that_somebody_works_with_stays_with_all_it_needs_and_the_others_go(services):
    ref = Ref.parse("p/e3/key3")
    with services.desk.reader("push", str(ref), quiet()) as operation:
        record = services.listing._find(ref)
        assert operation.claim(record.roots)
        result = clean(services)
    assert here(services) == {str(ref)}
    [kept] = [group for group in result.groups if group.action == "protected"]
    assert "claimed by operation push" in kept.reason
    assert_exact(services)
    assert clean(services).evicted_refs == 1
    assert here(services) == set()
    assert not [names for _folder, _folders, names in os.walk(services.layout.objects) if names]


def test_one_whose_ref_was_bound_anew_stays_with_all_it_needs(services, monkeypatch):
    is_still = Evictor._is_still
    monkeypatch.setattr(
        Evictor, "_is_still", lambda self, ref, record: ref.key != "key7" and is_still(self, ref, record)
    )
    assert clean(services).evicted_refs == COUNT - 1
    assert here(services) == {"p/e7/key7"}
    assert_exact(services)


def test_a_closure_list_that_two_groups_have_goes_with_the_last_of_them(services):
    both = Ref.parse("p/both/key")
    with services.desk.writer("test", str(both), quiet()) as operation:
        roots = tuple(services.listing._find(Ref.parse(f"p/e{n}/key{n}")).roots[0] for n in (1, 2))
        services.naming.publish(operation, [both], RefRecord.fresh(roots, origin="test"))
    time.sleep(0.02)
    assert clean(services).evicted_refs == COUNT + 1
    assert not [names for _folder, _folders, names in os.walk(services.layout.closures) if names]
    assert_exact(services)


def test_what_stays_is_counted_and_only_the_next_to_go_are_told(services, monkeypatch):
    monkeypatch.setattr(batches, "KEPT_TOLD", 3)
    used = services.space.used_bytes()
    for dry_run in (True, False):
        result = clean(services, used * 3 // 4, dry_run=dry_run)
        kept = [group for group in result.groups if group.action == "kept"]
        assert len(kept) == 3
        assert result.more_kept == COUNT - len(result.groups) > 0


@pytest.mark.parametrize(
    ("frees", "lacking", "together"),
    [
        ([10, 10, 10], 1, 1),
        ([10, 10, 10], 0, 1),
        ([0, 0, 0], 0, 1),
        ([10, 10, 10, 10], 60, 3),
        ([10, 10, 10, 10], 59, 2),
        ([1] * 100, 10**6, batches.BATCH),
    ],
)
def test_never_more_than_half_of_what_is_lacking_goes_together(frees, lacking, together):
    groups = [Planned((str(number),), frees_bytes=size) for number, size in enumerate(frees)]
    assert batches.next_batch(groups, 0, lacking) == groups[:together]
    assert batches.next_batch(groups, len(groups) - 1, lacking) == groups[-1:]


def test_groups_of_many_objects_give_back_soon():
    groups = [Planned((str(number),), frees_bytes=1, frees_objects=1500) for number in range(5)]
    assert len(batches.next_batch(groups, 0, 100)) == batches.BATCH_OBJECTS // 1500 == 2
    groups[0].frees_objects = 10**6
    assert batches.next_batch(groups, 0, 100) == groups[:1]
