"""Cleanups that nobody asked for are asked for once."""

from types import SimpleNamespace

import pytest
from harness.coordination import fake_coordination

from caskeeper.contract import CleanupRequest, PullRequest
from caskeeper.errors import CoordinatorUnavailable
from tasks.cleaning import CleanupWish


@pytest.fixture
def flights():
    return fake_coordination().flights


FULL = SimpleNamespace(cleanup_wanted=lambda: True)
FINE = SimpleNamespace(cleanup_wanted=lambda: False)


def test_many_who_wish_get_one(flights):
    sent = []
    for _ in range(5):
        CleanupWish(sent.append, lambda: flights).look(FULL, PullRequest)
    assert len(sent) == 1


def test_no_wish_when_the_cache_wants_none_or_was_just_cleaned(flights):
    sent = []
    wish = CleanupWish(sent.append, lambda: flights)
    wish.look(FINE, PullRequest)
    wish.look(FULL, CleanupRequest)
    assert sent == []


def test_a_wish_that_could_not_be_sent_may_be_made_again_and_fails_no_task(flights):
    def broken(_job_id):
        raise CoordinatorUnavailable("the test says so")

    CleanupWish(broken, lambda: flights).look(FULL, PullRequest)
    sent = []
    CleanupWish(sent.append, lambda: flights).look(FULL, PullRequest)
    assert len(sent) == 1
