"""Two or three actors over the real code, one step at a time, in every order within bounds.

safety.md section 8.

At every step: nothing understated (I5), no ref without its content (I3), nothing gone that a session was
promised, nothing found missing under a claim; at the end an independent look, and an exact count.
"""

from __future__ import annotations

import os

import pytest
from harness.interleaved import Failure, Search
from harness.interleaved_scenarios import SCENARIOS
from harness.safety_report import record

#: How many times as many interleavings as `make test` runs.
FACTOR = float(os.environ.get("CASKEEPER_TEST_INTERLEAVINGS", "1"))
SEED = int(os.environ.get("CASKEEPER_TEST_SEED", "1"))
#: Of each scenario: those that are enumerated, at most, and those that are sampled beyond.
ENUMERATED, SAMPLED = 44, 14


def _planned(scenario):
    """(interleavings to enumerate, to sample)."""
    return int(ENUMERATED * FACTOR / scenario.slow), int(SAMPLED * FACTOR / scenario.slow)


def test_there_are_at_least_two_thousand_interleavings():
    assert sum(sum(_planned(scenario)) for scenario in SCENARIOS) >= 2000


@pytest.mark.timeout(3600 * max(1, FACTOR))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_in_every_order_of_their_steps_everything_holds_that_was_promised(site, monkeypatch, scenario):
    enumerated, sampled = _planned(scenario)
    site.prepare(monkeypatch, scenario.before)
    search = Search(scenario, site)
    violations = 0
    try:
        with site.surroundings():
            search.explore(limit=enumerated, seed=SEED)
            search.sample(enumerated + sampled - search.runs, seed=SEED, deadly=True)
    except Failure:
        violations = 1  # a search ends with the first
        raise
    finally:
        record(
            "interleavings",
            {
                scenario.name: {
                    "interleavings": search.runs,
                    "steps": search.steps,
                    "complete up to switches": search.whole,
                    "violations": violations,
                }
            },
        )
    assert search.runs == enumerated + sampled
