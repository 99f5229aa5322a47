"""Which numbers a job's end makes: the same as what its client is told."""

import pytest

from caskeeper.contract import (
    REQUESTS,
    CleanupResult,
    CommitResult,
    PullResult,
    PushOutcome,
    PushResult,
    VerifyResult,
)
from caskeeper.errors import ArtifactNotFound
from tasks.metering import _READERS, account_of, zeros
from worker.telemetry.metrics import METRICS

URL = "http://cache.example.org:8980"


def ended(task, answer, state="SUCCESS"):
    account = account_of(task, state, answer, 1.5)
    return {(one.name, one.labels): one.value for one in account.samples}, account.totals


@pytest.mark.parametrize(
    ("result", "name", "labels", "total"),
    [
        (PullResult(pulled=False, cached=True), "caskeeper_hits", ("local",), "hits local"),
        (PullResult(pulled=True, cached=False, remote=URL), "caskeeper_hits", ("remote",), "hits remote"),
        (PullResult(pulled=False, cached=False), "caskeeper_misses", (), "misses"),
    ],
)
def test_a_pull_is_a_hit_here_or_there_or_a_miss(result, name, labels, total):
    samples, totals = ended("artifacts.pull", result.to_json())
    assert samples[name, labels] == 1
    assert totals[total] == 1
    assert sum(value for (one, _), value in samples.items() if "hits" in one or "misses" in one) == 1


def test_an_error_is_no_miss():
    samples, totals = ended("artifacts.pull", ArtifactNotFound("x"), "FAILURE")
    assert samples["caskeeper_errors", ("artifacts.pull", "ArtifactNotFound")] == 1
    assert totals["errors ArtifactNotFound"] == 1
    assert not any("miss" in name for name, _ in samples)


def test_what_no_class_of_ours_tells_is_a_bug():
    samples, _ = ended("artifacts.pull", RuntimeError("x"), "FAILURE")
    assert samples["caskeeper_errors", ("artifacts.pull", "bug")] == 1


@pytest.mark.parametrize("state", ["RETRY", "REJECTED", "IGNORED"])
def test_a_job_that_goes_on_elsewhere_or_later_is_in_no_total(state):
    samples, totals = ended("artifacts.pull", None, state)
    assert totals == {}
    assert [name for name, _ in samples] == ["caskeeper_task_seconds"]


def test_bytes_are_told_by_direction_and_remote_and_never_with_credentials():
    url = "http://user:secret@cache.example.org:8980"
    _, totals = ended("artifacts.pull", PullResult(pulled=True, cached=False, remote=url, bytes=9).to_json())
    assert totals[f"bytes pulled {URL}"] == 9
    outcome = PushOutcome(url=url, outcome="pushed", blobs=2, bytes=7)
    samples, totals = ended("artifacts.push", PushResult(pushed=True, remotes=(outcome,)).to_json())
    assert samples["caskeeper_bytes", ("pushed", URL)] == 7
    assert samples["caskeeper_pushes", (URL, "pushed")] == 1
    assert totals[f"blobs pushed {URL}"] == 2
    _, totals = ended(
        "artifacts.commit", CommitResult(root="", size_bytes=5, files=1, added_bytes=3).to_json()
    )
    assert totals["bytes committed"] == 3


def test_drift_is_what_the_last_recount_found():
    account = account_of("cache.compute_size", "SUCCESS", {"used_bytes": 5, "estimate_bytes": 8}, 0)
    assert account.now == {"drift_bytes": 3}


def test_evictions_are_not_counted_once_more_at_the_end_of_a_cleanup():
    answer = CleanupResult(
        dry_run=False,
        used_before_bytes=9,
        used_after_bytes=2,
        target_bytes=2,
        freed_bytes=7,
        evicted_refs=1,
    )
    _, totals = ended("cache.cleanup", answer.to_json())
    assert not any("evicted" in field for field in totals)


def test_findings_are_told_by_kind():
    answer = VerifyResult(repair=False, sampled_percent=1, counts={"damaged": 2}).to_json()
    assert ended("cache.verify", answer)[0]["caskeeper_findings", ("damaged",)] == 2


def test_every_task_that_is_read_is_one():
    assert set(_READERS) <= set(REQUESTS)


def test_what_alarms_look_at_begins_at_nothing():
    assert {one.value for one in zeros()} == {0}
    assert all(len(one.labels) == len(METRICS[one.name].labels) for one in zeros())
