"""A real small disk that somebody else fills in the middle of a verb, by its bytes and by its inodes."""

from __future__ import annotations

import os

import pytest
from harness.safety_report import record
from harness.scene import can_mount
from harness.small_disk import every_verb_on

#: At so many changes of a verb, 0 = at each, and of these verbs.
POINTS, VERBS = (
    2,
    ["commit", "pull", "extract", "link", "import", "pin", "cleanup", "server's update of an action"],
)
if os.environ.get("CASKEEPER_TEST_FULL_DISK") == "all":
    POINTS, VERBS = 0, []


@pytest.mark.parametrize("kind", ["size", "inodes"])
def test_a_disk_that_somebody_fills_in_the_middle_of_a_verb_is_survived(tmp_path, kind, tell):
    if not can_mount():
        # tests/faults/test_full.py shows the same with the errors of such a disk
        pytest.xfail("small file systems cannot be mounted here")
    told = every_verb_on(tmp_path, kind, points=POINTS, verbs=VERBS)
    points = sum(one["points"] for one in told.values())
    refused = sum(one["refused"] for one in told.values())
    tell(f"{points} points in {len(told)} verbs, {refused} refused")
    record("crash points", {f"all verbs, a real disk filled up by its {kind}": points})
    assert refused >= 5  # or it was never really full
