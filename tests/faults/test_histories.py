"""A minute of real processes under a nemesis; half an hour of it is tests/faults_long/test_histories.py."""

from __future__ import annotations

import os

import pytest
from harness.histories import QUIET_S, run_history
from harness.nemesis import DECK

SECONDS = float(os.environ.get("CASKEEPER_TEST_HISTORY_SECONDS", "60"))
SEED = os.environ.get("CASKEEPER_TEST_HISTORY_SEED", "1")
#: What is done often enough to come in any minute; the others come in half an hour.
VERBS = {"cleaner: cache.cleanup", "commit", "copy", "diff", "extract", "link", "pull", "push"}


@pytest.mark.timeout(SECONDS + QUIET_S + 200)
def test_a_history_under_a_nemesis_breaks_no_promise_and_leaves_a_sound_volume(tmp_path, tell):
    outcome = run_history(f"{tmp_path}/history", seconds=SECONDS, seed=SEED)
    assert outcome["violations"] == [], f"seed {SEED}, journal in {tmp_path}/history"
    run, faults = outcome["figures"]["Run"], outcome["figures"]["Faults"]
    tell(f"{run['operations']} operations, {run['faults']} faults, {run['violations']} violations")
    assert run["faults"] > SECONDS / 4
    possible = set(DECK) if run["small file system"] else set(DECK) - {"disk full"}
    assert SECONDS < 60 or faults.keys() == possible
    operations = outcome["figures"]["Operations"]
    assert {verb for verb, row in operations.items() if row["done"]} >= VERBS
