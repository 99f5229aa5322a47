"""What an operation still has when it comes back after a loss, or finds that it was fenced (docs/model)."""

import os

import pytest
from harness.fleet import Oracle, fleet, quick, write_tree

from caskeeper.contract import CommitRequest
from caskeeper.digest import Digest
from caskeeper.errors import LeaseLost
from worker.protocols import quiet


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
        with services.desk.writer("commit", "p/e/1", quiet()) as operation:
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
        services.desk.reader("pull", "p/e/1", quiet()) as operation,
    ):
        operation.staging.confirm()
        os.rename(operation.staging.folder, services.layout.trash("taken"))
        with pytest.raises(LeaseLost):
            operation.staging.confirm()
