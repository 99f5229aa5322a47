"""Every protection is needed: with it removed from the program, a bounded search finds what goes wrong."""

from __future__ import annotations

import pytest
from harness.interleaved import Failure, Search
from harness.interleaved_scenarios import BY_NAME
from harness.mutants import Stale, applied
from harness.mutants_of_ages import RELIED_UPON
from harness.mutants_of_counts import COUNTED
from harness.mutants_of_returning import COME_BACK
from harness.safety_report import record

MUTANTS = (*RELIED_UPON, *COUNTED, *COME_BACK)
LIMIT = 400


def _search(mutant, site):
    return Search(BY_NAME[mutant.scenario], site, focus=mutant.focus, guide=mutant.guide)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_a_protection_something_is_lost(site, monkeypatch, mutant):
    site.prepare(monkeypatch, BY_NAME[mutant.scenario].before)
    search = _search(mutant, site)
    with applied(mutant, monkeypatch, site), site.surroundings(), pytest.raises(Failure) as killed:
        search.explore(limit=LIMIT, switches=mutant.switches)
    needed, how = search.runs, killed.value.what
    assert killed.value.is_violation, how

    whole = _search(mutant, site)
    with site.surroundings():
        whole.explore(limit=needed, switches=mutant.switches)  # the program itself passes all of that
    record(
        "mutants",
        {
            mutant.name: {
                "removes": mutant.removes,
                "in the model": mutant.model or "-",
                "together because": mutant.backed or "-",
                "killed by": f"tests/stateful/test_mutants.py, {mutant.scenario}",
                "interleavings": needed,
                "what is seen": how,
            }
        },
    )


def test_a_patch_whose_text_the_program_does_not_have_is_noticed(site, monkeypatch):
    site.prepare(monkeypatch, BY_NAME["writer and cleaner"].before)
    stale = MUTANTS[0].patches[0]._replace(old="no such text")
    with pytest.raises(Stale), applied(_with(MUTANTS[0], stale), monkeypatch, site):
        pass


def _with(mutant, patch):
    from dataclasses import replace

    return replace(mutant, patches=(patch,))
