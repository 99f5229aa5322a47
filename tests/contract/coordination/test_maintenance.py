"""The maintenance lease, condemning, reaping and recounting (safety.md sections 5 to 7)."""

import json

import pytest

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import Grant, Usage
from caskeeper.errors import Busy, ConfigInvalid, LeaseLost

GROUP = {"roots": ["aa"], "refs": ["p/e/strong", "p/e/weak"], "keys": ["strong", "weak"]}


@pytest.fixture
def held(place):
    """A coordination whose lease `me` holds, with 100 bytes used."""
    coordination = place.create(used_bytes=100)
    assert coordination.maintenance.acquire("me", purpose="cleanup") == Grant("epoch-1", lost=False)
    return coordination


def register(coordination, op_id="op", *, reserved_bytes=0):
    return coordination.operations.register(
        op_id, verb="pull", subject="s", host="h", reserved_bytes=reserved_bytes
    )


def taken_over(place):
    """`me` expires, and `other` has the lease."""
    place.join(leases=place.expired).maintenance.renew("me", "epoch-1")
    assert place.join().maintenance.acquire("other", purpose="recount") is not None


def test_one_holder_at_a_time_until_release(held, place):
    assert place.join().maintenance.acquire("other", purpose="recount") is None
    holder = held.maintenance.holder()
    assert holder[:2] == ("me", "cleanup")
    assert holder.expires_ms <= held.now_ms() + 60_000
    held.maintenance.release("other")
    assert held.maintenance.holder() == holder
    held.maintenance.release("me")
    assert held.maintenance.holder() is None
    assert place.join().maintenance.acquire("other", purpose="recount") is not None


def test_the_holder_may_acquire_again(held):
    assert held.maintenance.acquire("me", purpose="cleanup") == Grant("epoch-1", lost=False)


def test_an_expired_lease_is_nobodys_and_still_its_holders_until_taken(held, place):
    place.join(leases=place.expired).maintenance.renew("me", "epoch-1")
    assert held.maintenance.holder() is None
    held.maintenance.renew("me", "epoch-1")
    assert held.maintenance.holder().holder == "me"


def every_step(maintenance, holder):
    return {
        "renew": lambda: maintenance.renew(holder, "epoch-1"),
        "ready": lambda: maintenance.ready(holder, "epoch-1"),
        "set_provisional": lambda: maintenance.set_provisional(holder, "epoch-1", 1),
        "expect": lambda: maintenance.expect(holder, "epoch-1", {"commit-1": 1}),
        "mark_dying": lambda: maintenance.mark_dying(holder, "epoch-1"),
        "drop_dead": lambda: maintenance.drop_dead(holder, "epoch-1", "op"),
        "condemn": lambda: maintenance.condemn(holder, "epoch-1", **GROUP),
        "uncondemn": lambda: maintenance.uncondemn(holder, "epoch-1", **GROUP),
        "begin_recount": lambda: maintenance.begin_recount(holder, "epoch-1"),
        "finish_recount": lambda: maintenance.finish_recount(
            holder, "epoch-1", scanned_bytes=1, added_total_at_start=0
        ),
    }


@pytest.mark.parametrize("step", every_step(None, ""))
def test_who_lost_the_lease_changes_nothing(held, place, step):
    register(held)
    taken_over(place)
    before = place.contents()
    with pytest.raises(LeaseLost, match="maintenance lease"):
        every_step(held.maintenance, "me")[step]()
    assert place.contents() == before


@pytest.mark.parametrize("step", every_step(None, ""))
def test_nobody_has_a_lease_without_a_name(place, step):
    coordination = place.create()
    with pytest.raises(LeaseLost, match="maintenance lease"):
        every_step(coordination.maintenance, "")[step]()


def test_a_give_back_counts_for_the_holder_of_this_epoch_only(held, place):
    held.maintenance.give_back("me", "epoch-1", 30)
    assert held.usage.snapshot() == Usage(70, 0, 0, known=True)
    held.maintenance.give_back("me", "epoch-0", 30)
    held.maintenance.give_back("other", "epoch-1", 30)
    assert held.usage.snapshot().used_bytes == 70
    taken_over(place)
    held.maintenance.give_back("me", "epoch-1", 30)
    assert held.usage.snapshot().used_bytes == 70


def test_used_never_goes_below_zero(held):
    held.maintenance.give_back("me", "epoch-1", 101)
    assert held.usage.snapshot().used_bytes == 0
    held.maintenance.give_back("me", "epoch-1", 0)
    assert held.usage.snapshot().used_bytes == 0


def test_condemned_is_all_of_a_group_until_uncondemned(held, place):
    assert held.maintenance.condemn("me", "epoch-1", **GROUP) == ""
    assert place.raw.hgetall(place.prefix + "condemned") == {
        "epoch": "epoch-1",
        "root:aa": "me",
        "ref:p/e/strong": "me",
        "ref:p/e/weak": "me",
        "key:strong": "me",
        "key:weak": "me",
    }
    held.maintenance.uncondemn("me", "epoch-1", roots=["aa"], refs=["p/e/strong"], keys=["strong"])
    assert set(place.raw.hkeys(place.prefix + "condemned")) == {"epoch", "ref:p/e/weak", "key:weak"}


@pytest.mark.parametrize("end", ["ready", "release"])
def test_nothing_stays_condemned_after_ready_or_release(held, place, end):
    held.maintenance.condemn("me", "epoch-1", **GROUP)
    if end == "ready":
        held.maintenance.ready("me", "epoch-1")
    else:
        held.maintenance.release("me")
    assert place.raw.hgetall(place.prefix + "condemned") == {"epoch": "epoch-1"}


@pytest.mark.parametrize("key", ["strong", "weak"])
def test_a_group_is_not_condemned_while_a_session_requires_a_key_of_it(held, place, key):
    held.sessions.require("build", [key])
    before = place.contents()
    assert held.maintenance.condemn("me", "epoch-1", **GROUP) == f"required by session build (key {key})"
    assert place.contents() == before
    held.sessions.close("build")
    assert held.maintenance.condemn("me", "epoch-1", **GROUP) == ""


def test_an_expired_session_protects_nothing(held, place):
    place.join(leases=place.expired).sessions.require("build", ["strong"])
    assert held.maintenance.condemn("me", "epoch-1", **GROUP) == ""


@pytest.mark.parametrize(("refs", "roots"), [(["p/e/weak"], []), ([], ["aa"])])
def test_a_group_is_not_condemned_while_an_operation_claims_a_part_of_it(held, place, refs, roots):
    epoch = register(held)
    assert held.operations.hold("op", epoch, refs=refs, roots=roots)
    before = place.contents()
    answer = held.maintenance.condemn("me", "epoch-1", **GROUP)
    assert answer.startswith("claimed by operation op (pull, ")
    assert place.contents() == before
    held.operations.settle("op", epoch, 0)
    assert held.maintenance.condemn("me", "epoch-1", **GROUP) == ""


def test_an_expired_operation_s_claim_counts_until_it_is_dropped(held, place):
    epoch = register(held)
    held.operations.claim("op", epoch, ["aa"])
    place.join(leases=place.expired).operations.renew("op", epoch)
    assert held.maintenance.mark_dying("me", epoch) == ["op"]
    assert held.maintenance.condemn("me", epoch, **GROUP).startswith("claimed by operation op")
    held.maintenance.drop_dead("me", epoch, "op")
    assert held.maintenance.condemn("me", epoch, **GROUP) == ""


def test_after_a_loss_nothing_is_condemned_before_ready_the_waiting_period_and_a_count(place):
    place.create()
    place.raw.flushall()
    coordination = place.join(leases=LeaseSettings(operation_s=60.0, session_s=90.0))
    maintenance = coordination.maintenance
    before = coordination.now_ms()
    epoch = maintenance.acquire("me", purpose="recovery").epoch
    assert before + 90_000 <= coordination.state().evict_from_ms <= coordination.now_ms() + 90_000
    assert maintenance.condemn("me", epoch, **GROUP) == "not allowed until the state is recovered"
    maintenance.ready("me", epoch)
    assert maintenance.condemn("me", epoch, **GROUP).startswith("not allowed until 2")
    place.raw.hset(place.prefix + "state", "evict_from_ms", str(coordination.now_ms()))
    assert maintenance.condemn("me", epoch, **GROUP) == "not allowed until the size is counted"
    maintenance.finish_recount("me", epoch, scanned_bytes=5, added_total_at_start=0)
    assert maintenance.condemn("me", epoch, **GROUP) == ""


def test_a_new_volume_need_not_wait(place):
    state = place.create(used_bytes=7).state()
    assert state[:5] == ("epoch-1", False, True, True, 0)


def test_only_expired_operations_are_marked_dying_and_they_stay_it(held, place):
    epoch = register(held, "young")
    register(place.join(leases=place.expired), "old")
    assert held.maintenance.mark_dying("me", epoch) == ["old"]
    assert held.maintenance.mark_dying("me", epoch) == ["old"]
    assert {record.id: record.dying for record in held.operations.list()} == {"young": False, "old": True}


def test_marking_ends_expired_sessions(held, place):
    place.join(leases=place.expired).sessions.require("old", ["k"])
    held.sessions.require("young", ["k"])
    held.maintenance.mark_dying("me", "epoch-1")
    assert set(place.raw.hkeys(place.prefix + "sessions")) == {"epoch", "young"}
    assert not place.raw.exists(place.prefix + "session:old")


def test_i5_a_dead_operation_s_reservation_becomes_used(held, place):
    epoch = register(held, reserved_bytes=30)
    register(held, "other", reserved_bytes=4)
    held.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"])
    place.join(leases=place.expired).operations.renew("op", epoch)
    held.maintenance.mark_dying("me", epoch)
    assert held.maintenance.drop_dead("me", epoch, "op") == 30
    assert held.usage.snapshot() == Usage(130, 4, 30, known=True, converted_bytes=30)
    assert [record.id for record in held.operations.list()] == ["other"]
    assert place.raw.hgetall(place.prefix + "claims") == {"epoch": "epoch-1"}
    assert held.maintenance.drop_dead("me", epoch, "op") == 0
    assert held.usage.snapshot() == Usage(130, 4, 30, known=True, converted_bytes=30)
    start = held.maintenance.begin_recount("me", epoch)
    held.maintenance.finish_recount("me", epoch, scanned_bytes=101, added_total_at_start=start)
    assert held.usage.snapshot() == Usage(101, 4, 30, known=True)


def test_an_operation_that_was_not_marked_is_never_dropped(held, place):
    epoch = register(held, reserved_bytes=30)
    before = place.contents()
    with pytest.raises(Busy, match="alive"):
        held.maintenance.drop_dead("me", epoch, "op")
    assert place.contents() == before


def test_a_recount_is_the_scan_and_everything_added_since_it_began(held, place):
    epoch = register(held, "settles", reserved_bytes=10)
    register(held, "goes-on", reserved_bytes=10)
    register(place.join(leases=place.expired), "dies", reserved_bytes=10)
    held.operations.settle_part("goes-on", epoch, 1, unreserve_bytes=1, number=1)
    start = held.maintenance.begin_recount("me", epoch)
    assert start == 1
    held.operations.settle("settles", epoch, 3)
    held.operations.settle_part("goes-on", epoch, 2, unreserve_bytes=2, number=2)
    held.maintenance.mark_dying("me", epoch)
    held.maintenance.drop_dead("me", epoch, "dies")
    used = held.maintenance.finish_recount("me", epoch, scanned_bytes=1000, added_total_at_start=start)
    assert used == 1000 + 3 + 2 + 10
    assert held.usage.snapshot() == Usage(1015, 7, 16, known=True)


def test_a_first_count_after_a_loss_is_provisional(place):
    place.create(used_bytes=100)
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    assert grant.lost
    coordination.maintenance.set_provisional("me", grant.epoch, 55)
    assert coordination.usage.snapshot() == Usage(55, 0, 0, known=False)
    coordination.maintenance.give_back("me", grant.epoch, 5)
    assert coordination.usage.snapshot().used_bytes == 55
    coordination.maintenance.ready("me", grant.epoch)
    coordination.maintenance.set_provisional("me", grant.epoch, 1)
    assert coordination.usage.snapshot() == Usage(55, 0, 0, known=False)


def test_an_operation_whose_end_is_absurdly_far_away_is_reaped(held, place):
    """Junk, or a clock that was set back: nothing stays reserved for ever."""
    epoch = held.operations.register("op", verb="v", subject="s", host="h", reserved_bytes=7)
    text = place.raw.hget(place.prefix + "operations", "op")
    record = {**json.loads(text), "expires_ms": str(2**53 - 1), "claims": []}
    place.raw.hset(place.prefix + "operations", "op", json.dumps(record))
    assert held.maintenance.mark_dying("me", epoch) == ["op"]
    assert held.maintenance.drop_dead("me", epoch, "op") == 7


@pytest.mark.parametrize("junk", ["junk", str(2**63 - 1), "-3"])
def test_i6_a_count_of_claims_that_nobody_wrote_is_none(place, junk):
    coordination = place.create()
    epoch = coordination.operations.register("op", verb="v", subject="s", host="h")
    place.raw.hset(place.prefix + "claims", "root:aa", junk)
    assert coordination.operations.claim("op", epoch, ["aa"])
    assert place.raw.hget(place.prefix + "claims", "root:aa") == "1"
    assert coordination.operations.settle("op", epoch, 0)
    assert place.raw.hkeys(place.prefix + "claims") == ["epoch"]


def test_who_takes_over_a_recovery_half_done_is_told_to_recover(place):
    coordination = place.join(leases=place.expired)
    first = coordination.maintenance.acquire("dies", purpose="recovery")
    second = coordination.maintenance.acquire("me", purpose="recovery")
    assert second == Grant(first.epoch, lost=True)
    coordination.maintenance.ready("me", second.epoch)
    assert coordination.maintenance.acquire("next", purpose="cleanup") == Grant(first.epoch, lost=False)


def test_a_lost_state_begins_anew_whoever_held_the_lease(held, place):
    place.raw.delete(place.prefix + "claims")
    grant = place.join().maintenance.acquire("other", purpose="recovery")
    assert grant.lost
    assert grant.epoch != "epoch-1"
    assert held.maintenance.acquire("me", purpose="cleanup") is None
    state = held.state()
    assert state[:4] == (grant.epoch, False, False, False)


def test_a_new_epoch_leaves_nothing_of_the_old_one(held, place):
    register(held, reserved_bytes=5)
    held.operations.claim("op", "epoch-1", ["aa"])
    held.sessions.require("build", ["k"])
    held.maintenance.condemn("me", "epoch-1", roots=["bb"], refs=[], keys=[])
    place.raw.delete(place.prefix + "sessions")
    epoch = held.maintenance.acquire("me", purpose="recovery").epoch
    contents = place.contents()
    for name in ("operations", "claims", "condemned", "sessions"):
        assert contents.pop(place.prefix + name) == {"epoch": epoch}
    assert contents.pop(place.prefix + "usage") == {
        "epoch": epoch,
        "used": "0",
        "reserved": "0",
        "added_total": "0",
    }
    assert set(contents) == {place.prefix + "state", place.prefix + "cleanup", "caskeeper:volume"}


def test_a_database_that_came_to_belong_to_another_volume_is_left_alone(held, place):
    place.raw.flushall()
    place.raw.set("caskeeper:volume", "volume-2")
    with pytest.raises(ConfigInvalid, match="belongs to volume volume-2"):
        held.maintenance.acquire("me", purpose="recovery")
    assert place.contents() == {"caskeeper:volume": "volume-2"}
