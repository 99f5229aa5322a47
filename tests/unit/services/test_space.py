"""The limits of a volume and its watermarks; what the file system says is given where it is read."""

import pytest
from harness.coordination import fake_coordination
from harness.volumes import new_volume

from caskeeper.config import CacheSettings, QuotaExpression, Settings
from caskeeper.contract import CleanupRequest, ComputeSizeRequest
from caskeeper.errors import ConfigInvalid
from worker.services.space import Space
from worker.store.volume import Space as Disk

MIB = 1024 * 1024
PLENTY = Disk(total_bytes=100 * MIB, available_bytes=90 * MIB, inodes_total=1000, inodes_free=900)


@pytest.fixture
def make(tmp_path):
    volume = new_volume(tmp_path)

    def made(disk=PLENTY, *, used=0, reserved=0, quota="10M", reserve="0", headroom=MIB):
        coordination = fake_coordination(used_bytes=used)
        if reserved:
            coordination.operations.register(
                "op", verb="pull", subject="p/e/k", host="here", reserved_bytes=reserved
            )
        volume.space = lambda: disk
        cache = CacheSettings(
            quota=QuotaExpression.parse(quota, "f [line 1 column 2]"),
            reserved_disk_space=QuotaExpression.parse(reserve),
            headroom_bytes=headroom,
            modern=True,
        )
        return Space(Settings(cachedir=volume.layout.root, cache=cache), volume, coordination)

    return made


def test_ac37_a_cleanup_is_wanted_above_the_high_watermark_and_not_at_it(make):
    assert not make(used=9 * MIB).why_cleanup()
    above = make(used=9 * MIB + 1)
    assert above.why_cleanup()
    assert above.why_cleanup() == "used and reserved are above 9M"
    assert above.upkeep_wanted() == CleanupRequest()


def test_what_is_reserved_counts_like_what_is_used(make):
    assert make(used=8 * MIB, reserved=MIB).upkeep_wanted() is None
    assert make(used=8 * MIB, reserved=MIB + 1).why_cleanup()


def test_d34_less_free_disk_than_its_reserve_wants_a_cleanup_whatever_the_quota(make):
    just = PLENTY._replace(available_bytes=5 * MIB)
    assert not make(just, reserve="5M").why_cleanup()
    under = make(just._replace(available_bytes=5 * MIB - 1), reserve="5M", quota="infinity", used=20 * MIB)
    assert "`reserved-disk-space` keeps 5M" in under.why_cleanup()
    assert under.disk_deficit() == 1
    assert under.limit_for(1) is None
    assert make(just, reserve="5M").limit_for(1) is None
    assert make(just, reserve="4M").limit_for(MIB) == 1 * MIB


@pytest.mark.parametrize(
    ("free", "may_write", "wanted", "goal"),
    [
        (900, True, False, 0),
        (20, True, False, 0),
        (19, True, True, 40),
        (11, True, True, 40),
        (10, False, True, 40),
    ],
)
def test_few_free_inodes_want_a_cleanup_and_fewer_stop_writing(make, free, may_write, wanted, goal):
    space = make(PLENTY._replace(inodes_free=free))
    assert (space.limit_for(1) is not None) == may_write
    assert bool(space.why_cleanup()) == wanted
    assert (f"only {free} of 1000 inodes" in space.why_cleanup()) == wanted
    assert space.inodes_goal() == goal
    assert space.inodes_lacking(goal) == max(0, goal - free)
    assert space.limit_for(1, files=free - 9) is None
    assert space.limit_for(1, files=free - 10) is not None


def test_a_file_system_that_does_not_count_inodes_never_lacks_any(make):
    space = make(PLENTY._replace(inodes_total=0, inodes_free=0))
    assert space.limit_for(1) is not None
    assert space.why_cleanup() == ""
    assert (space.inodes_goal(), space.inodes_lacking(0)) == (0, 0)


def test_what_never_fits_is_measured_on_a_disk_of_ones_own(make):
    crowded = PLENTY._replace(available_bytes=3 * MIB)
    assert make(crowded).capacity_bytes() == 10 * MIB
    assert make(crowded).limits().quota_bytes == 3 * MIB
    assert make(crowded, quota="infinity", reserve="10M").capacity_bytes() == 90 * MIB


def test_ac41_a_volume_is_opened_only_with_a_quota_that_can_be(make):
    assert make().accept().quota_bytes == 10 * MIB
    with pytest.raises(ConfigInvalid, match="at least 20M is required") as caught:
        make(headroom=20 * MIB).accept()
    assert caught.value.where == "f [line 1 column 2]"


def test_a_recount_is_wanted_while_the_estimate_holds_what_dead_operations_had_reserved(make):
    space = make(used=MIB, reserved=5)
    coordination = space._coordination
    assert not space.recount_wanted()
    expire(coordination, "op")
    maintenance = coordination.maintenance
    epoch = maintenance.acquire("me", purpose="remove").epoch
    assert maintenance.mark_dying("me", epoch) == ["op"]
    assert maintenance.drop_dead("me", epoch, "op") == 5
    assert space.upkeep_wanted() == ComputeSizeRequest()
    start = maintenance.begin_recount("me", epoch)
    maintenance.finish_recount("me", epoch, scanned_bytes=MIB, added_total_at_start=start)
    assert space.upkeep_wanted() is None
    assert space.used_bytes() == MIB


def expire(coordination, operation_id):
    """Its process renewed it for no time at all."""
    operations = coordination.operations
    life_ms, operations._life_ms = operations._life_ms, 0
    operations.renew(operation_id, coordination.state().epoch)
    operations._life_ms = life_ms
