"""What doctor says of workers, lanes and beat."""

from tasks.cli.doctor import judge_beat, judge_workers, lines
from worker.services.checks import Check, Checks

ALL = frozenset({"caskeeper.pull", "caskeeper.local"})
IDLE = {"caskeeper.pull": 0, "caskeeper.local": 0}


def judged(workers, lengths):
    checks = Checks("queue")
    judge_workers(checks, workers, lengths)
    return {check.name: check.verdict for check in checks.made if check.verdict != "ok"}


def test_a_lane_that_nobody_serves_is_worse_when_jobs_wait_in_it():
    assert judged({"a": ALL}, IDLE) == {}
    only_pull = {"a": frozenset({"caskeeper.pull"})}
    assert judged(only_pull, IDLE) == {"lane local": "warning"}
    assert judged(only_pull, {**IDLE, "caskeeper.local": 3}) == {"lane local": "trouble"}
    assert judged({}, IDLE) == {"workers": "trouble"}


def test_jobs_that_pile_up_are_told():
    assert judged({"a": ALL}, {**IDLE, "caskeeper.pull": 5000}) == {"lane pull": "warning"}


def test_a_fleet_without_a_beat_is_told():
    checks = Checks("queue")
    judge_beat(checks, "")
    judge_beat(checks, "host")
    assert [check.verdict for check in checks.made] == ["warning", "ok"]


def test_a_finding_has_its_remedy_on_a_line_of_its_own_and_no_name_writes_on_the_terminal():
    check = Check(area="volume", name="pins", verdict="trouble", found="evil\x1b[2J", remedy="mend it")
    assert list(lines(check)) == [
        "trouble  volume: pins                      evil\\x1b[2J",
        "         -> mend it",
    ]
