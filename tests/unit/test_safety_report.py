"""The page of the safety tests' figures."""

from __future__ import annotations

import pytest
from harness import safety_run
from harness.safety_report import FOLDER, record, recorded, render


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return str(tmp_path)


def test_nothing_is_recorded_when_nobody_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    record("mutants", {"no fence": 1})
    assert list(tmp_path.iterdir()) == []


def test_parts_of_one_section_come_together(folder):
    record("crash points", {"pull": 3, "commit": 1})
    record("crash points", {"commit": 1200})
    assert recorded(folder) == {"crash points": {"pull": 3, "commit": 1200}}
    assert "| commit | 1,200 |\n" in render(folder)


def test_rows_with_columns_and_titled_tables_are_shown(folder):
    record("mutants", {"no | fence": {"removes": "the fence", "after": 7}, "no hold": {"removes": "hold"}})
    record("histories", {"Faults": {"kill": 3}, "Operations": {"pull": {"done": 2}}})
    page = render(folder)
    assert (
        "| | removes | after |\n|---|---|--:|\n| no \\| fence | the fence | 7 |\n| no hold | hold |  |"
        in page
    )
    assert "### Faults\n\n| |  |\n|---|--:|\n| kill | 3 |" in page
    assert "### Operations\n\n| | done |\n|---|--:|\n| pull | 2 |" in page
    assert "## Model" in page
    assert page.count("Not run.") == 5


def test_an_unknown_section_is_refused(folder):
    with pytest.raises(ValueError, match="no section 'crashes'"):
        record("crashes", {})


def test_what_the_model_checker_has_left_becomes_a_table(folder, tmp_path, monkeypatch):
    results = tmp_path / "results.txt"
    monkeypatch.setattr(safety_run, "MODEL", results)
    safety_run.record_model()
    assert recorded(folder) == {}
    results.write_text("# name | flags | states\nw1c1 | -DSE=1 -DC1 | states 123 | errors: 0 | \n")
    safety_run.record_model()
    row = {"flags": "-DSE=1 -DC1", "states": "123", "outcome": "errors: 0"}
    assert recorded(folder) == {"model": {"w1c1": row}}


def test_a_run_that_fails_is_told_with_the_tests_that_failed(folder, tmp_path):
    (tmp_path / "test_two.py").write_text("def test_good():\n    pass\n\ndef test_bad():\n    assert False\n")
    stage = safety_run.Stage("two tests", (f"{tmp_path}/test_two.py", "-p", "no:cacheprovider"))
    assert not safety_run.run(stage, folder)
    told = recorded(folder)["runs"]["two tests"]
    assert (told["passed"], told["failed"]) == (1, 1)
    assert "test_bad" in told["which"][0]
