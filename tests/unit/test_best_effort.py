"""Jobs that must not fail a build."""

import pytest

from caskeeper.best_effort import BestEffort, passes_of
from caskeeper.contract import Progress, PullResult
from caskeeper.errors import (
    ArtifactNotFound,
    ConfigInvalid,
    CoordinatorUnavailable,
    InvalidRequest,
    PermissionDenied,
    RemoteUnavailable,
)
from caskeeper.job import Job

NOTHING = PullResult(pulled=False, cached=False)
DONE = {"status": "SUCCESS", "result": PullResult(pulled=True, cached=False).to_json()}
REPORTS = {"status": "PROGRESS", "result": Progress(phase="pull").to_json()}


class Told:
    """States one after another; the last one stays. An error is raised."""

    def __init__(self, *states):
        self._states = list(states)

    def state(self, job_id, *, bears_s=60.0):
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def attend(self, job_id, waiter, for_s):
        pass

    def is_nowhere(self, job_id):
        return False

    def why_waiting(self, state):
        return ""


def failed(kind):
    message = [kind.__name__, "", ""]
    return {
        "status": "FAILURE",
        "task_id": "j",
        "result": {"exc_type": kind.__name__, "exc_message": message, "exc_module": "caskeeper.errors"},
    }


def job(*states):
    return Job(Told(*states), "j", result=PullResult, recorded=True)


def test_what_succeeds_is_as_it_would_be():
    lines = []
    done = BestEffort(lines.append).job(lambda: job(REPORTS, DONE), instead=NOTHING)
    assert done.id == "j"
    assert [progress.phase for progress in done.follow()] == ["pull"]
    assert (done.result().pulled, done.done, done.trouble, lines) == (True, True, None, [])


def test_the_id_is_that_of_the_job_which_was_sent_in_the_end():
    def shared():
        told = Told(failed(RemoteUnavailable), DONE)
        return Job(told, "shared", result=PullResult, recorded=True, instead=lambda: "own")

    effort = BestEffort([].append).job(shared, instead=NOTHING)
    assert effort.id == "shared"
    assert effort.result().pulled
    assert effort.id == "own"


def test_a_remote_in_trouble_counts_as_nothing_done_and_is_told_once():
    lines = []
    best = BestEffort(lines.append)
    effort = [best.job(lambda: job(failed(RemoteUnavailable)), instead=NOTHING) for _ in range(3)]
    assert [each.result() for each in effort] == [NOTHING] * 3
    assert all(isinstance(each.trouble, RemoteUnavailable) for each in effort)
    assert len(lines) == 1
    assert lines[0].startswith("going on without the cache: remote unavailable")


def test_a_job_that_cannot_be_sent_is_one_that_did_nothing():
    def refuse():
        raise CoordinatorUnavailable("no Redis")

    lines = []
    unsent = BestEffort(lines.append).job(refuse, instead=NOTHING)
    assert (unsent.id, unsent.done, unsent.joined, list(unsent.follow())) == ("", True, False, [])
    assert unsent.result() == NOTHING
    assert isinstance(unsent.trouble, CoordinatorUnavailable)
    assert (unsent.cancel().word, unsent.withdraw().word) == ("unknown", "unknown")
    assert len(lines) == 1


def test_what_the_caller_got_wrong_and_bugs_are_not_passed_over():
    best = BestEffort([].append)
    with pytest.raises(ArtifactNotFound):
        best.job(lambda: job(failed(ArtifactNotFound)), instead=NOTHING).result()

    def wrong():
        raise ArtifactNotFound("not so")

    with pytest.raises(ArtifactNotFound):
        best.job(wrong, instead=NOTHING)


def test_a_caller_whose_time_is_up_goes_on_too():
    lines = []
    late = BestEffort(lines.append).job(lambda: job({"status": "QUEUED"}), instead=NOTHING)
    assert late.result(timeout_s=0.05) == NOTHING
    assert "deadline exceeded" in lines[0]


def test_a_push_that_its_remotes_refuse_fails_no_build_and_a_wrong_request_does():
    place = "ref demo/a/1, remote https://cache"
    configured, named = passes_of(None), passes_of(["https://cache"])
    for refused in (
        PermissionDenied("the server does not allow push", place),
        PermissionDenied("no remote took it: a [remote http://a]; b [remote http://b]", "ref demo/a/1"),
        RemoteUnavailable("gone", place),
    ):
        assert configured(refused)
        assert named(refused)
    certificate = ConfigInvalid("the server's certificate has expired", place)
    assert configured(certificate)
    assert not named(certificate), "the argument may be wrong"
    for wrong in (
        ConfigInvalid("no push remote is configured for project 'demo'", "/etc/caskeeper.yaml"),
        PermissionDenied("the folder cannot be read", "/srv/cache"),
        InvalidRequest("no remote", "argument --remote http://cache"),
        ArtifactNotFound("it is not here", "ref demo/a/1"),
    ):
        assert not configured(wrong)


def test_only_a_push_passes_over_what_its_remote_refuses():
    refused = failed(PermissionDenied)
    refused["result"]["exc_message"] = ["PUSH", "remote http://cache", ""]
    lines = []
    best = BestEffort(lines.append)
    assert best.job(lambda: job(refused), instead=NOTHING, passes=passes_of(None)).result() == NOTHING
    assert len(lines) == 1
    with pytest.raises(PermissionDenied):
        best.job(lambda: job(refused), instead=NOTHING).result()
