"""The lines of explain."""

from dataclasses import replace

import pytest

from caskeeper.contract import Explanation, Happening, Keeper
from tasks.cli.explain import facts

PUBLISHED = Happening(what="published", at_ms=1, why="commit", by="commit-1", host="h:1", root="aa/1")
HERE = Explanation(ref="p/e/k", here=True, seen=True, complete=True, history=(PUBLISHED,))


def line(found, name):
    return next(text for own, text in facts(found) if own == name)


@pytest.mark.parametrize(
    ("keeper", "says"),
    [
        (Keeper(kind="pin", name="p/*"), "pin p/*"),
        (
            Keeper(kind="session", name="s", detail="evil\x1b[2J", expires_in_s=300),
            "session s (evil\\x1b[2J), ends in 5 min unless renewed",
        ),
        (
            Keeper(kind="operation", name="pull-1", detail="pull p/e/k on h", expires_in_s=-2),
            "operation pull-1 (pull p/e/k on h), whose lease ran out",
        ),
    ],
)
def test_every_keeper_is_told(keeper, says):
    assert line(replace(HERE, kept_by=(keeper,)), "kept by") == says


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Happening(what="evicted", at_ms=1, why="the disk is full"), "evicted 1970"),
        (Happening(what="withdrawn", at_ms=1, why="object x is damaged"), "object x is damaged"),
        (PUBLISHED, "without an entry in the log"),
    ],
)
def test_what_is_gone_says_how_and_a_later_refusal_does_not_hide_it(last, says):
    refused = Happening(what="refused", at_ms=2, why="too large")
    found = Explanation(ref="p/e/k", here=False, seen=True, history=(refused, last))
    assert says in line(found, "here")


def test_what_was_only_ever_refused_says_so():
    refused = Happening(what="refused", at_ms=2, why="too large: 5G")
    found = Explanation(ref="p/e/k", here=False, seen=True, history=(refused,))
    assert "it was refused" in line(found, "here")
    assert "too large: 5G" in line(found, "here")


def test_since_when_the_log_can_know_anything_is_told_where_it_knows_nothing_of_the_ref():
    never = Explanation(ref="p/e/k", here=False, seen=False, log_from_ms=0)
    assert line(never, "here") == "no, and the event log is empty: Redis was emptied, or nothing happened yet"
    later = replace(never, log_from_ms=1)
    assert line(later, "here").startswith("no, and the event log, which begins 1970")
    unlogged = replace(HERE, history=(), log_from_ms=1)
    assert line(unlogged, "history").startswith("none; the event log begins 1970")
    assert not [text for name, text in facts(replace(HERE, log_from_ms=1)) if "log begins" in text]
    unread = replace(never, log_from_ms=None, remarks=("the event log cannot be read (gone)",))
    assert line(unread, "here") == "no"


def test_a_damaged_record_and_a_gap_are_told_apart():
    damaged = Explanation(ref="p/e/k", here=True, seen=True)
    assert line(damaged, "here").startswith("yes, but its record is damaged: `caskeeper verify --repair` ")
    gap = Explanation(ref="p/e/k", here=True, seen=True, missing="aa/1")
    assert "a part is gone or damaged (aa/1)" in line(gap, "here")
