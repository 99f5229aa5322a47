"""The lines of status."""

from dataclasses import replace

from tasks.cli.status import _volume
from worker.services.status import StatusResult

FOUND = StatusResult(
    volume_id="v",
    cachedir="/c",
    ready=True,
    size_known=True,
    used_bytes=1,
    reserved_bytes=0,
    quota_bytes=10,
    cleanup_above_bytes=9,
    cleanup_to_bytes=5,
    disk_total_bytes=100,
    disk_available_bytes=50,
    disk_reserved_bytes=5,
)


def test_the_wait_after_a_loss_of_redis_is_told_with_what_is_left_of_it():
    assert not any("evicted" in line for line in _volume(FOUND))
    told = [line for line in _volume(replace(FOUND, waiting_s=87.2)) if "evicted" in line]
    assert len(told) == 1
    assert "87 s" in told[0]


def test_a_passed_watermark_is_told():
    assert not any("wanted" in line for line in _volume(FOUND))
    told = _volume(replace(FOUND, cleanup_wanted="only 5 of 1000 inodes of the file system are free"))
    assert "wanted      a cleanup: only 5 of 1000 inodes of the file system are free" in told
