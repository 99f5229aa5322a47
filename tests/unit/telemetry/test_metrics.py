"""Numbers from many processes on one page."""

import os
from collections import Counter

import pytest

from caskeeper.coordination.events import Event
from worker.telemetry import metrics
from worker.telemetry.happenings import reason_of, samples_of
from worker.telemetry.metrics import METRICS, Pipe, Sample, sample
from worker.telemetry.registry import MOST_SETS, OTHER, Registry


def lines(registry):
    return [line for line in registry.render().decode().splitlines() if not line.startswith("#")]


def test_counters_add_up_and_gauges_are_as_they_are():
    told = [sample("caskeeper_used_bytes", 5)]
    registry = Registry(lambda: told)
    registry.add([sample("caskeeper_misses"), sample("caskeeper_misses", 2)])
    registry.add([sample("caskeeper_task_seconds", 0.2, task="t", outcome="done")])
    assert {"caskeeper_misses_total 3.0", "caskeeper_used_bytes 5.0"} <= set(lines(registry))
    assert 'caskeeper_task_seconds_bucket{le="0.25",outcome="done",task="t"} 1.0' in lines(registry)
    told.clear()
    assert not any("used_bytes" in line for line in lines(registry)), "what nobody tells is not as it was"


def test_no_series_is_told_twice():
    url = "http://" + "h" * 300  # a label is cut: two may become the same
    told = [sample("caskeeper_breaker_open", n, remote=f"{url}{n}") for n in range(3)]
    assert sum("caskeeper_breaker_open{" in line for line in lines(Registry(lambda: told))) == 1


def test_a_name_of_another_release_is_passed_over():
    registry = Registry()
    registry.add([Sample("caskeeper_of_tomorrow", 1.0), Sample("caskeeper_hits", 1.0, ("a", "b"))])
    assert not any("tomorrow" in line or "hits" in line for line in lines(registry))


def test_labels_that_never_end_become_one():
    registry = Registry()
    registry.add([sample("caskeeper_errors", task="t", error=f"e{n}") for n in range(MOST_SETS + 9)])
    told = [line for line in lines(registry) if line.startswith("caskeeper_errors_total")]
    assert len(told) == MOST_SETS + 1
    assert f'caskeeper_errors_total{{error="{OTHER}",task="{OTHER}"}} 9.0' in told


def test_children_that_die_in_the_middle_leave_whole_lines_and_their_numbers():
    pipe = Pipe()
    for number in range(4):
        if os.fork() == 0:
            for _ in range(40):  # together less than a pipe holds: nothing is dropped
                pipe.send([sample("caskeeper_errors", task="t" * 90, error=f"e{number}")] * 2)
            os.kill(os.getpid(), 9)
    told = list(pipe.samples())  # a broken line would be no JSON
    for _ in range(4):
        os.wait()
    assert Counter(one.labels[1] for one in told) == {f"e{number}": 80 for number in range(4)}
    assert all(first == second for first, second in zip(told[::2], told[1::2], strict=True))


def test_a_reader_that_is_gone_or_stands_still_costs_numbers_and_no_time():
    pipe = Pipe()
    for _ in range(5000):
        pipe.send([sample("caskeeper_misses")])
    pipe.only_write()
    pipe.send([sample("caskeeper_misses")])
    os.close(pipe._writes)


def test_many_numbers_at_once_come_through():
    pipe = Pipe()
    sent = [sample("caskeeper_errors", n, task="t", error=f"e{n}") for n in range(500)]
    pipe.send(sent)
    assert list(pipe.samples()) == sent


def test_where_nobody_listens_numbers_go_nowhere():
    metrics.note([sample("caskeeper_misses")])
    heard = []
    metrics.send_to(heard.extend)
    try:
        metrics.note([sample("caskeeper_misses")])
    finally:
        metrics.send_to(None)
    assert heard == [Sample("caskeeper_misses", 1.0)]


def test_every_name_says_what_it_is():
    for name, metric in METRICS.items():
        assert name.startswith("caskeeper_")
        assert metric.help.endswith("."), name


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("only 5 of 100 inodes of the file system are free; not used for longest", "inodes"),
        ("1G of the disk are free, and `reserved-disk-space` keeps 2G", "disk"),
        ("used and reserved are above 45G", "watermark"),
        ("3M more did not fit", "room"),
        ("a cleanup down to 1G was asked for", "asked"),
        ("the stars", "other"),
    ],
)
def test_an_eviction_has_one_of_a_few_reasons(why, reason):
    assert reason_of(why) == reason


def test_refs_of_one_tree_free_its_bytes_once():
    events = [Event("evicted", f"p/e/{n}", "3M more did not fit", before="r", freed_bytes=7) for n in "ab"]
    told = samples_of([*events, Event("withdrawn", "p/e/c"), Event("", "p/e/d")])
    assert [(one.name, one.value) for one in told] == [
        ("caskeeper_evictions", 1), ("caskeeper_evictions", 1),
        ("caskeeper_ref_events", 1), ("caskeeper_evicted_bytes", 7),
    ]  # fmt: skip
