"""A child does not keep its worker from ending."""

from types import SimpleNamespace

from billiard import pool
from celery.app import trace

from tasks.ending import LAST_WORD_S, end_in_order


def test_a_child_whose_answer_nobody_reads_any_more_ends_after_a_moment(monkeypatch):
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    slept = []
    monkeypatch.setattr(pool, "time", SimpleNamespace(sleep=slept.append))
    child = pool.Worker.__new__(pool.Worker)
    child.on_ready_counter = SimpleNamespace(value=0)
    assert not child._ensure_messages_consumed(completed=1)
    assert sum(slept) > 10 * LAST_WORD_S, "what the library does by itself"
    slept.clear()
    end_in_order()
    assert not child._ensure_messages_consumed(completed=1)
    assert 0 < sum(slept) <= LAST_WORD_S + 0.05


def test_a_job_that_is_put_back_is_a_line_and_no_traceback(monkeypatch):
    monkeypatch.setattr(trace, "log_policy_reject", trace.log_policy_reject._replace(traceback=1))
    end_in_order()
    assert not trace.log_policy_reject.traceback
