"""Progress, throttled."""

import threading
import time

from caskeeper.contract import Progress
from worker.telemetry.progress import Reporter


def test_many_reports_become_few_and_the_latest_wins():
    sent = []
    with Reporter(sent.append, interval_s=0.01) as progress:
        for n in range(10_000):
            progress(Progress(done_bytes=n))
        while not sent or sent[-1].done_bytes != 9999:
            time.sleep(0.001)
    assert len(sent) < 5000
    assert [one.done_bytes for one in sent] == sorted({one.done_bytes for one in sent}), "each once, in order"


def test_nothing_is_sent_after_the_block_even_if_sending_is_slow():
    entered, leave, sent = threading.Event(), threading.Event(), []

    def slow(progress):
        entered.set()
        leave.wait(30)
        sent.append(progress)

    with Reporter(slow, interval_s=0.001) as progress:
        progress(Progress(done_bytes=1))
        entered.wait(30)
        progress(Progress(done_bytes=2))
        leave.set()
    assert len(sent) <= 2
    count = len(sent)
    progress(Progress(done_bytes=3))
    time.sleep(0.02)
    assert len(sent) == count


def test_a_verb_that_never_reports_costs_no_message():
    sent = []
    with Reporter(sent.append, interval_s=0.001):
        time.sleep(0.02)
    assert sent == []
