"""The one line a parent waits for."""

import os

from caskeeper.embedding import REPORT_VARIABLE
from tasks.process import Report


def test_a_report_is_one_line_and_said_once(monkeypatch):
    ours, theirs = os.pipe()
    monkeypatch.setenv(REPORT_VARIABLE, str(theirs))
    report = Report.inherited()
    assert REPORT_VARIABLE not in os.environ, "children of ours have none"
    report.send({"url": "u"})
    report.send({"url": "again"})
    with open(ours) as pipe:
        assert pipe.read() == '{"url": "u"}\n'


def test_nobody_who_listens_is_no_trouble(monkeypatch):
    monkeypatch.delenv(REPORT_VARIABLE, raising=False)
    Report.inherited().send({})
    ours, theirs = os.pipe()
    os.close(ours)
    Report(theirs).send({})
