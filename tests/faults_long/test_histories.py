"""Half an hour of real processes under a nemesis, and its figures: a part of `make test-faults-long`."""

from __future__ import annotations

import os

import pytest
from harness.histories import QUIET_S, run_history
from harness.nemesis import DECK
from harness.safety_report import record

SECONDS = float(os.environ.get("CASKEEPER_TEST_HISTORY_SECONDS", "1860"))
SEED = os.environ.get("CASKEEPER_TEST_HISTORY_SEED", "2019")


@pytest.mark.timeout(SECONDS + QUIET_S + 200)
def test_a_long_history_has_no_violation(tmp_path):
    outcome = run_history(f"{tmp_path}/history", seconds=SECONDS, seed=SEED)
    record("histories", outcome["figures"])  # also when it failed: then the figures say so
    assert outcome["violations"] == [], f"seed {SEED}, journal in {tmp_path}/history"
    figures = outcome["figures"]
    possible = set(DECK) if figures["Run"]["small file system"] else set(DECK) - {"disk full"}
    assert figures["Faults"].keys() == possible
    assert [verb for verb, row in figures["Operations"].items() if not row["done"]] == []
