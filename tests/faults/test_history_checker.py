"""The checker of histories sees each thing that must not be, and nothing in a sound history."""

from __future__ import annotations

import pytest
from harness.histories_checker import bugs_in, figures, violations
from harness.histories_journal import Journal, read_journal

FINAL = {
    "quota_bytes": 1000,
    "working_set_bytes": 3000,
    "seconds": 60,
    "seed": "1",
    "small_disk": True,
    "troubles": [],
    "leavings": [],
    "codes": {"worker0": 0},
    "counted": {"after the recount": (500, 0, 500)},
    "kept": [],
    "states": {},
}
LOSS = {"at": 10.0, "event": "fault", "kind": "redis emptied", "wall_ms": 100_000}
SENT = {"at": 5.0, "event": "sent", "actor": "b", "verb": "commit", "job": "1", "ref": "p/e/k"}
SAMPLE = {"at": 3.0, "event": "sample", "epoch": "e", "actual": 500, "used": 400, "reserved": 100}
SOUND = [
    SAMPLE,
    SENT,
    {"at": 6.0, "event": "ended", "verb": "commit", "job": "1", "outcome": "done"},
    LOSS,
    {"at": 12.5, "event": "sample", "epoch": "f", "actual": 500, "now_ms": 102_400, "gone": ["cas/x"]},
]


def ended(outcome, error="", **changes):
    return {"at": 40.0, "event": "ended", "verb": "commit", "job": "1", "outcome": outcome} | {
        "error": error,
        **changes,
    }


def test_a_sound_history_has_no_violation():
    assert violations(SOUND, FINAL, {"worker0.log": "2026-01-01T00:00:00.000Z INFO a b\n"}) == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([{**SAMPLE, "used": 399}], "understated"),
        ([{**SAMPLE, "actual": 1001, "used": 1001}], "above the quota"),
        ([LOSS, {**SAMPLE, "now_ms": 101_999, "gone": ["cas/x"]}], "deleted 2.00 s after a loss"),
        ([SENT], "never ended"),
        ([SENT, ended("CoordinatorUnavailable", "the queue has forgotten this job")], "was forgotten"),
        ([SENT, ended("DeadlineExceeded", "the job has not ended after 150 s")], "has not ended"),
        ([SENT, ended("CaskeeperError", "the worker failed with KeyError")], "ended with CaskeeperError"),
        ([SENT, ended("DigestMismatch", "bytes")], "ended with DigestMismatch"),
        ([{"event": "violation", "kind": "broken promise", "ref": "r", "text": "t"}], "broken promise: r t"),
        (
            [
                {
                    "event": "verified",
                    "found": {"counts": {"dangling-ref": 1, "orphan-object": 1}, "findings": []},
                }
            ],
            "verify found dangling-ref",
        ),
        (
            [{"event": "cleaned", "actor": "cleaner0", "verb": "v", "outcome": "VolumeFailed", "error": "e"}],
            "cleaner0: v ended",
        ),
        ([{"event": "bug", "actor": "builder", "text": "KeyError"}], "bug in builder"),
        (
            [{"at": 90.0, "event": "ended by itself", "process": "worker1", "code": 1}],
            "ended by itself with 1",
        ),
    ],
)
def test_what_must_not_be_is_told(lines, told):
    (found,) = violations(lines, FINAL, {})
    assert told in found


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ({"counted": {"after the recount": (501, 0, 500)}}, "501 used and 0 reserved"),
        ({"counted": {"after the recount": (500, 1, 500)}}, "500 used and 1 reserved"),
        ({"troubles": ["wrong bytes: x"]}, "at the end: wrong bytes"),
        ({"leavings": ["tmp/x"]}, "left over: tmp/x"),
        ({"kept": ["p/e/k"]}, "kept after a cleanup"),
        ({"codes": {"server": 1}}, "server ended with 1"),
        ({"states": {"1": "STARTED"}}, "left in state STARTED"),
        ({"failed": "Traceback"}, "the end was not reached"),
    ],
)
def test_an_end_that_is_not_clean_is_told(end, told):
    (found,) = violations(SOUND, FINAL | end, {})
    assert told in found


def test_a_job_that_redis_lost_or_that_was_refused_is_no_violation():
    forgotten = ended("CoordinatorUnavailable", "the queue has forgotten this job")
    assert violations([SENT, LOSS, forgotten], FINAL, {}) == []
    assert violations([SENT, ended("NoSpace", "full")], FINAL, {}) == []


def test_who_cannot_start_for_want_of_redis_is_no_violation():
    ended = {"at": 90.0, "event": "ended by itself", "process": "worker1", "code": 25}
    assert violations([ended], FINAL, {}) == []
    kill = {"at": 80.0, "event": "fault", "kind": "kill child", "process": "worker1"}
    assert violations([kill, {**ended, "code": 1}], FINAL, {}) == []


def test_only_errors_that_no_fault_explains_are_bugs():
    echo = "2026-01-01T00:00:00.000Z ERROR celery WorkerLostError('exited with signal 9')\nTraceback …\n"
    bug = (
        "2026-01-01T00:00:01.000Z ERROR caskeeper.task x\nTraceback (most recent call last):\nKeyError: 'a'\n"
    )
    cut = "2026-01-01T00:00:02.000Z ERROR celery Error 32 while writing to socket. Broken pipe..\n"
    assert bugs_in(echo + cut) == []
    assert bugs_in(echo + bug + cut) == [bug]


def test_a_journal_that_was_cut_short_is_read_up_to_there(tmp_path):
    journal = Journal(f"{tmp_path}/journal", "a")
    journal.by("b").note("sent", job="1")
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write('{"event": "se')
    (line,) = read_journal(journal.path)
    assert (line["actor"], line["event"], line["job"]) == ("b", "sent", "1")


def test_figures_count_operations_by_verb_and_outcome_and_faults_by_kind():
    lines = [*SOUND, SENT | {"job": "2"}, ended("Busy", "x", job="2")]
    shown = figures(lines, FINAL, ["understated at 1: …"])
    assert shown["Operations"] == {"commit": {"done": 1, "refused": 1, "with": "Busy 1"}}
    assert shown["Faults"] == {"redis emptied": 1}
    assert shown["Violations"] == {"understated at 1": 1}
    assert shown["Run"]["violations"] == 1
