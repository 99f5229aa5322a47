"""Upkeep that nobody asked for is asked for once."""

from types import SimpleNamespace

import pytest
from harness.coordination import fake_coordination

from caskeeper.contract import CleanupRequest, ComputeSizeRequest, PullRequest
from caskeeper.errors import CoordinatorUnavailable
from tasks.cleaning import CleanupWish
from tasks.schedule import entries


@pytest.fixture
def flights():
    return fake_coordination().flights


def wanting(request):
    return SimpleNamespace(upkeep_wanted=lambda: request)


FULL, INFLATED, FINE = wanting(CleanupRequest()), wanting(ComputeSizeRequest()), wanting(None)


class Sent(list):
    def __call__(self, request, _job_id):
        self.append(type(request))


def test_many_who_wish_get_one_of_a_kind(flights):
    sent = Sent()
    for _ in range(5):
        CleanupWish(sent, lambda: flights).look(FULL, PullRequest)
        CleanupWish(sent, lambda: flights).look(INFLATED, PullRequest)
    assert sent == [CleanupRequest, ComputeSizeRequest]


def test_a_recount_that_finds_the_cache_too_full_is_followed_by_a_cleanup(flights):
    sent = Sent()
    CleanupWish(sent, lambda: flights).look(FULL, ComputeSizeRequest)
    assert sent == [CleanupRequest]


def test_no_wish_when_the_cache_wants_none_or_it_was_just_done(flights):
    sent = Sent()
    wish = CleanupWish(sent, lambda: flights)
    wish.look(FINE, PullRequest)
    wish.look(FULL, CleanupRequest)
    wish.look(INFLATED, ComputeSizeRequest)
    assert sent == []


def test_a_wish_that_could_not_be_sent_may_be_made_again_and_fails_no_task(flights):
    def broken(_request, _job_id):
        raise CoordinatorUnavailable("the test says so")

    CleanupWish(broken, lambda: flights).look(FULL, PullRequest)
    sent = Sent()
    CleanupWish(sent, lambda: flights).look(FULL, PullRequest)
    assert sent == [CleanupRequest]


def test_a_look_that_fails_is_no_wish_and_fails_no_task(flights):
    def lost():
        raise CoordinatorUnavailable("the test says so")

    sent = Sent()
    CleanupWish(sent, lambda: flights).look(SimpleNamespace(upkeep_wanted=lost), PullRequest)
    assert sent == []


def test_d34_beat_has_somebody_look_every_minute_and_recount_every_hour():
    found = {entry["task"]: entry for entry in entries().values()}
    assert found[CleanupRequest.TASK]["schedule"] == 60
    assert CleanupRequest.from_json(found[CleanupRequest.TASK]["kwargs"]).if_wanted
    assert found[ComputeSizeRequest.TASK]["schedule"] == 3600
