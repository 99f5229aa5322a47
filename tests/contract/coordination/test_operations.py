"""Operations: registration, reservation, claims, settling (safety.md sections 3 and 6)."""

import pytest

from caskeeper.config.settings import LeaseSettings
from caskeeper.coordination import StateLost, Usage
from caskeeper.errors import Busy, InvalidRequest, LeaseLost


def registered(coordination, op_id="op", *, reserved_bytes=0):
    return coordination.operations.register(
        op_id, verb="pull", subject="p/e/k", host="here", reserved_bytes=reserved_bytes
    )


def dying(place, coordination, op_id="op"):
    """The operation expires and a cleanup marks it."""
    place.join(leases=place.expired).operations.renew(op_id, "epoch-1")
    coordination.maintenance.acquire("cleanup", purpose="test")
    assert coordination.maintenance.mark_dying("cleanup", "epoch-1") == [op_id]


def test_a_registered_operation_is_listed_with_what_it_said_of_itself(place):
    coordination = place.create()
    before = coordination.now_ms()
    assert registered(coordination, reserved_bytes=7) == "epoch-1"
    (record,) = coordination.operations.list()
    assert record[:4] == ("op", "pull", "p/e/k", "here")
    assert before <= record.started_ms <= coordination.now_ms()
    assert record.expires_ms == record.started_ms + 60_000
    assert record[6:] == (7, False, ())
    assert coordination.usage.snapshot() == Usage(0, 7, 0, known=True)


def test_registering_again_keeps_start_reservation_and_claims(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=7)
    assert coordination.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"])
    (before,) = coordination.operations.list()
    registered(coordination, reserved_bytes=3)
    (after,) = coordination.operations.list()
    assert (after.started_ms, after.reserved_bytes, after.claims) == (before.started_ms, 7, before.claims)
    assert coordination.usage.snapshot().reserved_bytes == 7


def test_registering_again_with_more_reserved_counts_the_difference(place):
    coordination = place.create()
    registered(coordination, reserved_bytes=7)
    registered(coordination, reserved_bytes=10)
    assert coordination.usage.snapshot().reserved_bytes == 10
    assert coordination.operations.list()[0].reserved_bytes == 10


def test_an_operation_is_not_registered_before_the_state_is_ready(place):
    coordination = place.join()
    coordination.maintenance.acquire("cleanup", purpose="recovery")
    with pytest.raises(StateLost, match="being recovered"):
        registered(coordination)
    assert coordination.operations.list() == []


@pytest.mark.parametrize("op_id", ["", "epoch", "a/b", "x" * 129])
def test_an_operation_id_that_cannot_be_a_field_is_refused(place, op_id):
    with pytest.raises(InvalidRequest):
        registered(place.create(), op_id)


def test_renewing_moves_the_expiry(place):
    coordination = place.create(leases=place.expired)
    epoch = registered(coordination)
    place.join().operations.renew("op", epoch)
    (record,) = coordination.operations.list()
    assert record.expires_ms >= record.started_ms + 60_000


def test_an_expired_operation_that_nobody_marked_renews(place):
    coordination = place.create(leases=place.expired)
    epoch = registered(coordination)
    coordination.operations.renew("op", epoch)
    assert coordination.operations.list()[0].dying is False


@pytest.mark.parametrize("call", ["renew", "reserve", "hold", "claim", "register"])
def test_a_dying_operation_can_neither_renew_reserve_hold_nor_register(place, call):
    coordination = place.create()
    epoch = registered(coordination)
    dying(place, coordination)
    before = place.contents()
    operations = coordination.operations
    calls = {
        "renew": lambda: operations.renew("op", epoch),
        "reserve": lambda: operations.reserve("op", epoch, 1, limit_bytes=10),
        "hold": lambda: operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"]),
        "claim": lambda: operations.claim("op", epoch, ["aa"]),
        "register": lambda: registered(coordination),
    }
    with pytest.raises(LeaseLost, match="operation op"):
        calls[call]()
    assert place.contents() == before


@pytest.mark.parametrize("call", ["renew", "reserve", "hold", "settle_part"])
def test_an_operation_that_is_gone_has_lost_its_lease(place, call):
    coordination = place.create()
    operations = coordination.operations
    calls = {
        "renew": lambda: operations.renew("op", "epoch-1"),
        "reserve": lambda: operations.reserve("op", "epoch-1", 1, limit_bytes=10),
        "hold": lambda: operations.hold("op", "epoch-1", refs=[], roots=["aa"]),
        "settle_part": lambda: operations.settle_part("op", "epoch-1", 1, unreserve_bytes=1, number=1),
    }
    before = place.contents()
    with pytest.raises(LeaseLost, match="not registered"):
        calls[call]()
    assert place.contents() == before


def test_an_operation_does_not_outlive_its_maximum_life(place):
    coordination = place.create(leases=LeaseSettings(operation_life_s=-1.0))
    epoch = registered(coordination)
    with pytest.raises(LeaseLost, match="operation-life"):
        coordination.operations.renew("op", epoch)
    with pytest.raises(LeaseLost, match="operation-life"):
        registered(coordination)


def test_i5_a_reservation_fits_up_to_the_limit_and_not_a_byte_further(place):
    coordination = place.create(used_bytes=50)
    epoch = registered(coordination)
    assert coordination.operations.reserve("op", epoch, 30, limit_bytes=100)
    assert not coordination.operations.reserve("op", epoch, 21, limit_bytes=100)
    assert coordination.operations.reserve("op", epoch, 20, limit_bytes=100)
    assert coordination.usage.snapshot() == Usage(50, 50, 0, known=True)
    assert coordination.operations.list()[0].reserved_bytes == 50


def test_counters_are_exact_beyond_fourteen_digits(place):
    coordination = place.create(used_bytes=1_000_000_000_000_001)
    epoch = registered(coordination, reserved_bytes=2_000_000_000_000_003)
    assert coordination.operations.reserve("op", epoch, 4, limit_bytes=2**53)
    assert coordination.operations.list()[0].reserved_bytes == 2_000_000_000_000_007
    assert coordination.operations.settle("op", epoch, 1_000_000_000_000_005)
    assert coordination.usage.snapshot() == Usage(2_000_000_000_000_006, 0, 1_000_000_000_000_005, known=True)


def test_settling_adds_what_was_added_and_drops_reservation_claims_and_record(place):
    coordination = place.create(used_bytes=5)
    epoch = registered(coordination, reserved_bytes=100)
    registered(coordination, "other", reserved_bytes=1)
    assert coordination.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa", "bb"])
    assert coordination.operations.hold("other", epoch, refs=[], roots=["bb"])
    assert coordination.operations.settle("op", epoch, 40)
    assert coordination.usage.snapshot() == Usage(45, 1, 40, known=True)
    assert [record.id for record in coordination.operations.list()] == ["other"]
    assert place.raw.hgetall(place.prefix + "claims") == {"epoch": "epoch-1", "root:bb": "1"}


def test_settling_twice_counts_once(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    assert coordination.operations.settle("op", epoch, 4)
    assert not coordination.operations.settle("op", epoch, 4)
    assert coordination.usage.snapshot() == Usage(4, 0, 4, known=True)


def test_settling_in_another_epoch_changes_nothing(place):
    coordination = place.create()
    registered(coordination, reserved_bytes=10)
    before = place.contents()
    assert not coordination.operations.settle("op", "epoch-0", 4)
    assert place.contents() == before


def test_i5_a_dying_operation_settles_and_leaves_the_rest_of_its_reservation_to_its_reaper(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    dying(place, coordination)
    assert coordination.operations.settle("op", epoch, 4)
    assert coordination.usage.snapshot() == Usage(4, 6, 4, known=True)


def test_settling_a_part_keeps_the_operation_and_the_rest_of_its_reservation(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    coordination.operations.settle_part("op", epoch, 4, unreserve_bytes=6, number=1)
    assert coordination.usage.snapshot() == Usage(4, 4, 4, known=True)
    assert coordination.operations.list()[0].reserved_bytes == 4


def test_a_part_whose_answer_was_lost_counts_once(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    for number in (1, 1, 2, 1):
        coordination.operations.settle_part("op", epoch, 2, unreserve_bytes=3, number=number)
    assert coordination.usage.snapshot() == Usage(4, 4, 4, known=True)


def test_i5_a_part_of_a_dying_operation_leaves_what_it_was_refunded(place):
    """It may lie in the trash of the cleanup that took its folder away."""
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    dying(place, coordination)
    coordination.operations.settle_part("op", epoch, 3, unreserve_bytes=9, number=1)
    assert coordination.usage.snapshot() == Usage(3, 7, 3, known=True)


def test_no_more_is_unreserved_than_the_operation_had(place):
    coordination = place.create()
    epoch = registered(coordination, reserved_bytes=10)
    registered(coordination, "other", reserved_bytes=5)
    coordination.operations.settle_part("op", epoch, 0, unreserve_bytes=100, number=2)
    coordination.operations.settle_part("op", epoch, 0, unreserve_bytes=1, number=3)
    assert coordination.usage.snapshot() == Usage(0, 5, 0, known=True)


@pytest.mark.parametrize("member", ["root", "ref"])
def test_a_hold_on_something_condemned_claims_nothing(place, member):
    coordination = place.create()
    epoch = registered(coordination)
    coordination.maintenance.acquire("cleanup", purpose="test")
    group = {"roots": ["aa"] if member == "root" else [], "refs": ["p/e/k"] if member == "ref" else []}
    assert coordination.maintenance.condemn("cleanup", epoch, keys=[], **group) == ""
    assert not coordination.operations.hold("op", epoch, refs=["x/y/z", "p/e/k"], roots=["bb", "aa"])
    assert coordination.operations.list()[0].claims == ()
    assert place.raw.hgetall(place.prefix + "claims") == {"epoch": "epoch-1"}
    coordination.maintenance.uncondemn("cleanup", epoch, keys=[], **group)
    assert coordination.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"])


def test_nothing_is_held_while_the_state_is_not_ready(place):
    coordination = place.create()
    epoch = registered(coordination)
    place.raw.hset(place.prefix + "state", "ready", "0")
    with pytest.raises(StateLost, match="being recovered"):
        coordination.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"])
    assert coordination.operations.list()[0].claims == ()


def test_a_reader_claims_no_condemned_root(place):
    coordination = place.create()
    epoch = registered(coordination)
    coordination.maintenance.acquire("cleanup", purpose="test")
    coordination.maintenance.condemn("cleanup", epoch, roots=["aa"], refs=["p/e/k"], keys=["k"])
    assert not coordination.operations.claim("op", epoch, ["aa"])
    assert coordination.operations.claim("op", epoch, ["bb"])
    assert coordination.operations.list()[0].claims == ("root:bb",)


def test_claiming_the_same_twice_counts_once(place):
    coordination = place.create()
    epoch = registered(coordination)
    assert coordination.operations.claim("op", epoch, ["aa", "aa"])
    assert coordination.operations.hold("op", epoch, refs=["p/e/k"], roots=["aa"])
    assert place.raw.hgetall(place.prefix + "claims") == {
        "epoch": "epoch-1",
        "root:aa": "1",
        "ref:p/e/k": "1",
    }


def test_a_lost_state_leaves_the_process_as_busy_and_may_be_tried_again():
    document = StateLost("it is gone", "unix://s").to_json()
    assert (document["error"], document["exit_code"], document["retry"]) == ("Busy", 24, True)
    assert isinstance(StateLost("it is gone"), Busy)
