"""What every command's lines go through."""

import json

import pytest

from tasks.cli.invocation import Invocation
from tasks.cli.main import run

EVIL = "a\x1b[31m\r\x07"
SHOWN = "a\\x1b[31m\\r\\x07"


@pytest.mark.parametrize("way", ["data", "say", "note", "complain"])
def test_no_line_for_people_can_steer_a_terminal(capsys, way):
    getattr(Invocation(), way)(EVIL)
    assert "".join(capsys.readouterr()).removeprefix("caskeeper: ") == f"{SHOWN}\n"


def test_an_outcome_of_several_lines_stays_so(capsys):
    Invocation().emit({}, f"{EVIL}\nb")
    assert capsys.readouterr().out == f"{SHOWN}\nb\n"


def test_a_path_is_printed_as_it_is(capsys):
    Invocation().emit({}, EVIL, exact=True)
    Invocation().data(EVIL, exact=True)
    assert capsys.readouterr().out == f"{EVIL}\n" * 2


def test_a_document_carries_what_was_said(capsys):
    Invocation(json=True).emit({"label": EVIL}, EVIL)
    assert json.loads(capsys.readouterr().out) == {"label": EVIL}


def test_wrong_usage_is_quoted_harmlessly(capsys):
    assert run([EVIL]) == 2
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert told.endswith("\n")
    assert not told.endswith("\n\n")
