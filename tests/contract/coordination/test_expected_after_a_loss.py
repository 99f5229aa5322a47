"""What is expected of operations of before, after a loss of Redis (decision 0012)."""

import pytest

from caskeeper.errors import LeaseLost


def test_operations_of_before_a_loss_are_expected_with_what_they_may_still_add(place):
    place.create(used_bytes=100)
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("dies", purpose="recovery")
    coordination.maintenance.expect("dies", grant.epoch, {"pull-tree-1": 99, "gone-2": 1})
    coordination.maintenance.expect("dies", grant.epoch, {"pull-tree-1": 20, "odd name": 7, "push-3": 5})
    coordination.maintenance.ready("dies", grant.epoch)
    coordination.maintenance.expect("dies", grant.epoch, {"late-4": 1})
    expected = {one.id: (one.verb, one.reserved_bytes) for one in coordination.operations.list()}
    assert expected == {"pull-tree-1": ("pull-tree", 20), "push-3": ("push", 5)}
    assert coordination.usage.snapshot().reserved_bytes == 25


@pytest.mark.parametrize("own", [0, 12, 30])
def test_who_comes_back_says_itself_what_it_has_and_says_it_once(place, own):
    """A call that was on its way may come late: by then it may only add."""
    place.create()
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    coordination.maintenance.expect("me", grant.epoch, {"pull-1": 20, "push-3": 5})
    coordination.maintenance.ready("me", grant.epoch)
    for later in (own, 0):
        coordination.operations.register("pull-1", verb="p", subject="s", host="h", reserved_bytes=later)
        back = next(one for one in coordination.operations.list() if one.id == "pull-1")
        assert (back.verb, back.subject, back.host, back.reserved_bytes) == ("p", "s", "h", own)
        assert coordination.usage.snapshot().reserved_bytes == own + 5


def test_the_waiting_period_begins_when_operations_may_come_back_and_only_once(place):
    """A count of a large volume, or who died over it, may take longer than the whole period."""
    place.create()
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    place.raw.hset(place.prefix + "state", "evict_from_ms", "0")
    before = coordination.now_ms()
    coordination.maintenance.ready("me", grant.epoch)
    assert coordination.state().evict_from_ms >= before + 60_000
    place.raw.hset(place.prefix + "state", "evict_from_ms", "0")
    coordination.maintenance.ready("me", grant.epoch)
    assert coordination.state().evict_from_ms == 0


def test_what_links_say_beyond_all_measure_is_not_believed(place):
    """Ten of them would make a sum that counts as junk, and the state would be lost for ever."""
    place.create()
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    said = {f"pull-{n}": 10**15 - 1 for n in range(12)} | {"push-1": 5}
    coordination.maintenance.expect("me", grant.epoch, said)
    coordination.maintenance.ready("me", grant.epoch)
    assert not coordination.state().lost
    assert coordination.operations.register("push-1", verb="p", subject="s", host="h", reserved_bytes=5)


def test_who_is_expected_and_finds_its_claim_condemned_stays_paid_for(place):
    place.create()
    place.raw.flushall()
    coordination = place.join()
    grant = coordination.maintenance.acquire("me", purpose="recovery")
    coordination.maintenance.expect("me", grant.epoch, {"pull-1": 20})
    coordination.maintenance.ready("me", grant.epoch)
    place.raw.hset(place.prefix + "condemned", "root:aa", "me")
    with pytest.raises(LeaseLost, match="being removed"):
        coordination.operations.register("pull-1", verb="p", subject="s", host="h", roots=["aa"])
    assert coordination.usage.snapshot().reserved_bytes == 20
    assert coordination.operations.list()[0].reserved_bytes == 20
