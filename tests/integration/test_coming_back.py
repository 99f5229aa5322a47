"""What an operation still has when it comes back after a loss, or finds that it was fenced (docs/model)."""

import os
from functools import partial

import pytest
from harness.fleet import Oracle, fleet, quick, write_tree
from harness.mortal import expire_leases
from harness.volumes import ended_as_fenced

from caskeeper.contract import CleanupRequest, CommitRequest
from caskeeper.digest import Digest
from caskeeper.errors import Busy, CoordinatorUnavailable, LeaseLost, NoSpace, TooLarge
from worker.protocols import quiet
from worker.store.staging import stated_reserved


def commit(services, folder, ref):
    source = write_tree(f"{folder}/src-{ref.replace('/', '-')}", {"f": ref.encode() * 100})
    return Digest.parse(services.run(CommitRequest(path=source, refs=(ref,)), quiet()).root)


def claims_of(services, operation):
    (record,) = [one for one in services.coordination.operations.list() if one.id == operation.id]
    return sorted(record.claims)


@pytest.mark.parametrize("call", ["claims another root", "holds another ref", "reserves", "renews"])
def test_a_claim_survives_the_loss_of_redis_whoever_notices_it_first(tmp_path, valkey, call):
    """safety.md section 7: a running operation comes back with what is reserved and claimed."""
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=30.0)) as services:
        one, other = commit(services, tmp_path, "p/e/1"), commit(services, tmp_path, "p/e/2")
        with services.desk.reader("push", "p/e/1", quiet()) as operation:
            assert operation.claim([one])
            valkey.client().flushall()
            if call == "claims another root":
                assert operation.claim([other])
            elif call == "holds another ref":
                operation.hold(["p/e/3"], [other])
            elif call == "reserves":
                operation.reserve(4096)
            else:
                services.maintenance.ensure_ready()
                operation.renew()
            assert f"root:{one.hash}" in claims_of(services, operation)


def test_a_held_name_is_held_again_after_a_loss(tmp_path, valkey):
    """Between hold and the rename of the ref nobody may take what stands there: its place counts once."""
    with fleet(tmp_path, valkey.url, leases=quick(operation_s=30.0)) as services:
        root = commit(services, tmp_path, "p/e/1")
        with services.desk.writer("commit", "p/e/1", quiet()) as operation:
            operation.hold(["p/e/1"], [root])
            valkey.client().flushall()
            services.maintenance.ensure_ready()
            operation.renew()
            assert claims_of(services, operation) == ["ref:p/e/1", f"root:{root.hash}"]


def test_after_a_loss_nobody_is_given_what_operations_of_before_may_still_write(tmp_path, valkey):
    """Else they and the new ones together pass the quota: found by a history with a nemesis."""
    with (
        fleet(tmp_path, valkey.url, 2, quota="10M", leases=quick(operation_s=30.0)) as (mine, theirs),
        mine.desk.writer("commit", "p/e/1", quiet()) as old,
    ):
        old.reserve(5_000_000)
        mine.desk._running.discard(old)  # it is paused: nobody renews it
        valkey.client().flushall()
        theirs.maintenance.ensure_ready()
        usage = theirs.coordination.usage.snapshot
        assert usage().reserved_bytes == 5_000_000
        with (
            theirs.desk.writer("commit", "p/e/2", quiet(), room_wait_s=0.0) as new,
            pytest.raises(NoSpace, match="commit that has not come back since Redis was lost"),
        ):
            new.reserve(6_000_000)
        old.renew()
        (record,) = theirs.coordination.operations.list()
        assert (record.subject, record.reserved_bytes) == ("p/e/1", 5_000_000)
        assert usage().reserved_bytes == 5_000_000
    assert usage().reserved_bytes == 0


def test_what_died_before_the_loss_is_paid_for_until_it_is_reaped(tmp_path, valkey):
    with fleet(tmp_path, valkey.url, quota="10M", leases=quick()) as services:
        layout = services.layout
        os.makedirs(f"{layout.operation('commit-dead')}/sub")
        os.symlink("3000000", f"{layout.operation('commit-dead')}/reserved")
        for name, text in {"odd-text": "1e9", "odd-size": "9" * 16, "odd name": "5"}.items():
            os.makedirs(layout.operation(name))
            os.symlink(text, f"{layout.operation(name)}/reserved")
        os.makedirs(f"{layout.operation('odd-kind')}/reserved")
        valkey.client().flushall()
        services.maintenance.ensure_ready()
        usage = services.coordination.usage.snapshot
        assert usage().reserved_bytes == 3_000_000
        with pytest.raises(Busy, match="had time to come back"):
            services.run(CleanupRequest(), quiet())
        assert usage().reserved_bytes == 3_000_000
        expire_leases(valkey.client(), services.coordination.volume_id)
        services.run(CleanupRequest(), quiet())
        assert os.listdir(layout.staging) == []
        assert usage().reserved_bytes == 0
        assert usage().used_bytes == Oracle(layout.root).used_bytes()


def test_what_is_reserved_stands_on_the_volume_as_it_changes(tmp_path, valkey):
    with (
        fleet(tmp_path, valkey.url, quota="100M") as services,
        services.desk.writer("commit", "p/e/1", quiet(), room_wait_s=0.0) as operation,
    ):
        stated = partial(stated_reserved, services.layout, operation.id)
        operation.reserve(5_000_000)
        assert stated() == 5_000_000
        operation.reserve(30_000_000)
        granted = services.coordination.usage.snapshot().reserved_bytes
        assert stated() == granted == 30_000_000
        with pytest.raises(TooLarge):
            operation.reserve(200_000_000)
        assert stated() == granted
        operation.settle_part()
        assert stated() == services.coordination.usage.snapshot().reserved_bytes < granted


def test_who_is_still_expected_after_the_waiting_period_is_fenced_whatever_its_expiry(tmp_path, valkey):
    """Nobody knows its claims: it must not come back with them after a cleanup that could not see them."""
    with fleet(tmp_path, valkey.url, 2, leases=quick(operation_s=30.0)) as (mine, theirs):
        root = commit(mine, tmp_path, "p/e/1")
        with ended_as_fenced(), mine.desk.reader("push", "p/e/1", quiet()) as operation:
            assert operation.claim([root])
            mine.desk._running.discard(operation)  # it is paused: nobody renews it
            valkey.client().flushall()
            theirs.maintenance.ensure_ready()
            prefix = f"caskeeper:{{{theirs.coordination.volume_id}}}:"
            valkey.client().hset(f"{prefix}state", "evict_from_ms", "0")
            theirs.run(CleanupRequest(), quiet())
            with pytest.raises(LeaseLost):
                operation.staging.confirm()


def test_i5_a_settlement_whose_answer_was_lost_counts_once(tmp_path, valkey):
    with (
        fleet(tmp_path, valkey.url, quota="100M", leases=quick(operation_s=30.0)) as services,
        services.desk.writer("serve", "s", quiet(), room_wait_s=0.0) as operation,
    ):
        calls = services.coordination.operations
        settle_part = calls.settle_part

        def lost(*words, **names):
            settle_part(*words, **names)
            raise CoordinatorUnavailable("no answer")

        operation.reserve(10_000_000)
        for content in (b"1" * 1_000_000, b"2" * 2_000_000):
            operation.blobs.add(content)
            calls.settle_part = lost
            with pytest.raises(CoordinatorUnavailable):
                operation.settle_part()
            calls.settle_part = settle_part
        operation.settle_part()
        usage = services.coordination.usage.snapshot()
        assert usage.used_bytes == Oracle(services.layout.root).used_bytes()
        assert (
            usage.reserved_bytes
            == operation._reservation._allowance
            == stated_reserved(services.layout, operation.id)
        )


def test_a_loss_reserves_nothing_that_was_only_asked_for(tmp_path, valkey):
    leases = quick(operation_s=30.0)
    with (
        fleet(tmp_path, valkey.url, leases=leases) as services,
        services.desk.writer("commit", "p/e/1", quiet()) as operation,
    ):
        valkey.client().flushall()
        operation.reserve(4096)
        assert services.coordination.usage.snapshot().reserved_bytes == 4096


def test_i5_a_fenced_operation_that_no_cleanup_knew_leaves_its_rest_to_the_next_one(tmp_path, valkey):
    """Its folder was taken for an unregistered one; what it had staged lies in the trash of who took it."""
    with fleet(tmp_path, valkey.url) as services:
        layout = services.layout
        with ended_as_fenced(), services.desk.writer("commit", "p/e/1", quiet()) as operation:
            operation.staging.stage(b"x" * 50_000)
            os.mkdir(layout.trash("cleanup-paused"))
            os.rename(operation.staging.folder, f"{layout.trash('cleanup-paused')}/e-1")
        usage = services.coordination.usage.snapshot()
        assert usage.used_bytes + usage.reserved_bytes >= Oracle(layout.root).used_bytes() > 50_000
        with services.maintenance.run("recovery", check=lambda: None) as run:
            assert run.reaped == 1
        usage = services.coordination.usage.snapshot()
        assert usage.reserved_bytes == 0
        assert usage.used_bytes >= Oracle(layout.root).used_bytes()


def test_what_is_condemned_meanwhile_is_not_claimed_again(tmp_path, valkey):
    with fleet(tmp_path, valkey.url) as services:
        operations, maintenance = services.coordination.operations, services.coordination.maintenance
        grant = maintenance.acquire("cleanup", purpose="test")
        assert maintenance.condemn("cleanup", grant.epoch, roots=["aa"], refs=[], keys=[]) == ""
        with pytest.raises(LeaseLost, match="being removed"):
            operations.register("late", verb="push", subject="s", host="h", roots=["bb", "aa"])
        assert operations.list() == []
        maintenance.release("cleanup")


def test_an_operation_whose_folder_was_taken_cannot_confirm_what_it_answers(tmp_path, valkey):
    with (
        fleet(tmp_path, valkey.url) as services,
        ended_as_fenced(),
        services.desk.reader("pull", "p/e/1", quiet()) as operation,
    ):
        operation.staging.confirm()
        os.rename(operation.staging.folder, services.layout.trash("taken"))
        with pytest.raises(LeaseLost):
            operation.staging.confirm()
