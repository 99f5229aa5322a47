"""What is said of a cache that stays full, and whether waiting can help (AC-44)."""

from dataclasses import replace

import pytest

from caskeeper.config import Limits
from caskeeper.contract import CleanupHolder, CleanupResult
from caskeeper.coordination import OperationRecord, Usage
from worker.services.fullness import explain, is_for_good, sentence
from worker.services.space import Now
from worker.store.volume import Space as Disk

MIB = 1024 * 1024
LIMITS = Limits(quota_bytes=10 * MIB, high_bytes=9 * MIB, low_bytes=5 * MIB, reserved_disk_bytes=2 * MIB)
DISK = Disk(total_bytes=100 * MIB, available_bytes=50 * MIB, inodes_total=1000, inodes_free=900)
NOW = Now(LIMITS, Usage(8 * MIB, MIB, 0, known=True), DISK)


def held(*kinds, size=MIB, artifacts=1):
    holders = tuple(
        CleanupHolder(kind=kind, name=f"{kind}-{n}", artifacts=artifacts, size_bytes=size)
        for n, kind in enumerate(kinds)
    )
    return CleanupResult(
        dry_run=False, used_before_bytes=0, used_after_bytes=0, target_bytes=0, holders=holders
    )


def operation(name, reserved):
    return OperationRecord(name, "pull", f"p/{name}/k", "host:1", 0, 0, reserved, dying=False, claims=())


def told(now=NOW, result=None, *, operations=(), capacity=10 * MIB, size=0):
    return explain(
        now,
        result,
        operations=operations,
        config_file="/etc/c.yaml",
        capacity_bytes=capacity,
        size_bytes=size,
    )


@pytest.mark.parametrize(
    ("result", "for_good"),
    [
        (held(), False),
        (held("session"), True),
        (held("session", "pin"), True),
        (held("session", "running"), False),
        (held("pin", "server"), False),
        (held("session", "operation"), False),
        (held("running"), False),
        (held("session", "running", size=11 * MIB), True),
        (held("pin", "uploads", artifacts=0), False),
    ],
)
def test_only_what_is_required_or_pinned_is_there_for_good(result, for_good):
    assert is_for_good(result, quota_bytes=10 * MIB) == for_good


def test_what_a_write_in_progress_keeps_young_does_not_make_required_artifacts_go():
    young = CleanupHolder(kind="running", name="commit-1")
    result = held("session")
    both = CleanupResult(
        dry_run=False,
        used_before_bytes=0,
        used_after_bytes=0,
        target_bytes=0,
        holders=(*result.holders, young),
    )
    assert is_for_good(both, quota_bytes=10 * MIB)


@pytest.mark.parametrize(
    ("young", "own", "short", "for_good"),
    [
        (3 * MIB, 0, 2 * MIB, False),
        (3 * MIB, MIB, 2 * MIB, False),
        (3 * MIB, 2 * MIB, 2 * MIB, True),
        (3 * MIB, 3 * MIB, 2 * MIB, True),
        (MIB, 0, 2 * MIB, True),
    ],
)
def test_unnamed_content_that_is_only_too_young_goes_by_waiting_unless_it_is_ones_own(
    young, own, short, for_good
):
    """Decision 0008."""
    result = replace(held("session"), young_bytes=young)
    assert is_for_good(result, quota_bytes=10 * MIB, short_bytes=short, own_bytes=own) == for_good


def test_the_numbers_come_with_those_who_have_reserved_most():
    many = [operation(name, size * 100 * 1024) for size, name in enumerate("abcde")]
    what, ways = told(operations=many, size=3 * MIB)
    assert what == (
        "quota 10M, used 8M, reserved 1M (400K by pull p/e/k on host:1, 300K by pull p/d/k on host:1, "
        "200K by pull p/c/k on host:1): 2M too much"
    )
    assert ways == ["raise `cache: quota` in /etc/c.yaml"]


def test_want_of_disk_is_not_helped_by_a_larger_quota():
    what, ways = told(NOW._replace(limits=LIMITS._replace(quota_bytes=9 * MIB)))
    assert "50M are free, of which `reserved-disk-space` keeps 2M" in what
    assert ways == ["free space on the disk"]
    few = DISK._replace(inodes_free=15)
    what, ways = told(NOW._replace(disk=few))
    assert "only 15 of 1000 inodes of the file system are free" in what
    assert "inodes" in ways[0]
    assert "inodes" not in told(NOW._replace(disk=few), size=1)[0], "a write may still take of those"


def test_of_many_holders_the_first_are_named():
    what, ways = told(result=held(*["session"] * 7))
    assert what.count("requires 1 artifact of 1M") == 5
    assert what.endswith("2 more hold something")
    assert ways[1] == (
        "end session session-0, session-1, session-2, session-3, session-4 "
        "when its artifacts are no longer needed (`caskeeper session close ID`)"
    )


@pytest.mark.parametrize(
    ("kind", "detail", "says"),
    [
        ("session", "nightly", "session x (nightly) requires 2 artifacts of 3M"),
        ("session", "", "session x requires 2 artifacts of 3M"),
        ("session", "evil\x1b[2J", r"session x (evil\x1b[2J) requires 2 artifacts of 3M"),
        ("pin", "", "pin x keeps 2 artifacts of 3M"),
        ("operation", "extract p/e/k on h", "extract p/e/k on h uses 2 artifacts of 3M"),
        (
            "running",
            "pull p/e/k on h",
            "2 artifacts of 3M too young to go: used since the start of pull p/e/k on h",
        ),
        ("margin", "used in the last 10 s", "2 artifacts of 3M too young to go: used in the last 10 s"),
    ],
)
def test_every_holder_is_a_sentence(kind, detail, says):
    assert (
        sentence(CleanupHolder(kind=kind, name="x", detail=detail, artifacts=2, size_bytes=3 * MIB)) == says
    )


def test_numbers_that_differ_are_told_apart():
    almost = NOW._replace(
        limits=LIMITS._replace(reserved_disk_bytes=2 * MIB + 4096),
        usage=Usage(9 * MIB + 900 * 1024, 0, 0, known=True),
        disk=DISK._replace(available_bytes=2 * MIB),
    )
    what, _ways = told(almost)
    assert what == (
        "quota 10M, used 9.9M, reserved 0B; the disk has no room for more: 2M are free, of which "
        "`reserved-disk-space` keeps 2.004M"
    )
