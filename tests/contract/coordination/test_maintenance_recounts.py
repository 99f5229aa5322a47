"""What a recount leaves to the next one: operations that ended while it was at it (safety.md section 6)."""

import json

import pytest

from caskeeper.coordination import Usage
from caskeeper.errors import LeaseLost


@pytest.fixture
def held(place):
    """A coordination whose lease `me` holds."""
    coordination = place.create()
    assert coordination.maintenance.acquire("me", purpose="recount") is not None
    return coordination


def register(coordination, op_id="op", *, reserved_bytes):
    return coordination.operations.register(
        op_id, verb="serve", subject="s", host="h", reserved_bytes=reserved_bytes
    )


def recount(coordination):
    start = coordination.maintenance.begin_recount("me", "epoch-1")
    coordination.maintenance.finish_recount("me", "epoch-1", scanned_bytes=50, added_total_at_start=start)
    return coordination.usage.snapshot()


def record_of(place, op_id="op"):
    return json.loads(place.raw.hget(place.prefix + "operations", op_id))


def test_who_ended_under_somebody_s_work_while_a_recount_scanned_has_another_one_asked_for(held, place):
    """It was not dying when that run reaped, so nobody has converted what is left of its reservation."""
    epoch = register(held, reserved_bytes=30)
    start = held.maintenance.begin_recount("me", epoch)
    assert held.operations.settle("op", epoch, 4, fenced=True)
    held.maintenance.finish_recount("me", epoch, scanned_bytes=50, added_total_at_start=start)
    assert held.usage.snapshot() == Usage(54, 26, 4, known=True, converted_bytes=26)
    assert held.maintenance.mark_dying("me", epoch) == ["op"]
    assert held.maintenance.drop_dead("me", epoch, "op") == 26
    assert recount(held) == Usage(50, 0, 30, known=True)
    assert not place.raw.hexists(place.prefix + "usage", "converted")


def test_a_recount_asks_for_another_one_for_what_is_left_of_all_who_ended_under_somebody_s_work(held):
    for op_id, reserved_bytes in (("one", 30), ("two", 5), ("spent", 4), ("lives", 1)):
        register(held, op_id, reserved_bytes=reserved_bytes)
    for op_id in ("one", "two", "spent"):
        held.operations.settle(op_id, "epoch-1", 4, fenced=True)
    held.operations.settle_part("one", "epoch-1", 6, unreserve_bytes=0, number=1)
    for _ in range(2):
        assert recount(held) == Usage(50, 22, 18, known=True, converted_bytes=20 + 1 + 1)


def test_who_ended_without_a_rest_has_another_one_asked_for_too(held):
    """What it told as added while the recount scanned may be too much."""
    epoch = register(held, reserved_bytes=4)
    start = held.maintenance.begin_recount("me", epoch)
    held.operations.settle("op", epoch, 4, fenced=True)
    assert held.usage.snapshot().converted_bytes == 1
    held.maintenance.finish_recount("me", epoch, scanned_bytes=50, added_total_at_start=start)
    assert held.usage.snapshot() == Usage(54, 0, 4, known=True, converted_bytes=1)
    held.maintenance.mark_dying("me", epoch)
    held.maintenance.drop_dead("me", epoch, "op")
    assert recount(held) == Usage(50, 0, 4, known=True)


@pytest.mark.parametrize("settles", [True, False])
def test_who_is_dying_for_another_reason_has_no_recount_asked_for(held, place, settles):
    """A cleanup is at work on it, or cannot remove its folder: upkeep would recount again and again."""
    epoch = register(place.join(leases=place.expired), reserved_bytes=30)
    held.maintenance.mark_dying("me", epoch)
    if settles:
        held.operations.settle("op", epoch, 4)
        assert held.operations.list()[0].reserved_bytes == 26
    assert recount(held).converted_bytes == 0


def test_who_has_ended_stays_it_and_can_do_nothing_more(held, place):
    epoch = register(held, reserved_bytes=30)
    held.operations.settle("op", epoch, 4, fenced=True)
    assert record_of(place)["ended"] is True
    before = place.contents()
    for call in (
        lambda: register(held, reserved_bytes=40),
        lambda: held.operations.renew("op", epoch),
        lambda: held.operations.reserve("op", epoch, 1, limit_bytes=2**40),
        lambda: held.operations.claim("op", epoch, ["aa"]),
    ):
        with pytest.raises(LeaseLost):
            call()
    held.maintenance.mark_dying("me", epoch)
    assert place.contents() == before
    assert [record.dying for record in held.operations.list()] == [True]


def test_i6_a_mark_of_an_end_on_an_operation_that_lives_asks_for_nothing(held, place):
    """No script writes that, and it would be recounted for as long as it lives."""
    epoch = register(held, reserved_bytes=30)
    place.raw.hset(place.prefix + "operations", "op", json.dumps(record_of(place) | {"ended": True}))
    assert recount(held) == Usage(50, 30, 0, known=True)
    held.operations.renew("op", epoch)
    assert held.operations.settle("op", epoch, 4)
    assert held.usage.snapshot() == Usage(54, 0, 4, known=True)
