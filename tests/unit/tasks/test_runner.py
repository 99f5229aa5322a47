"""How often a job is tried again, and when it is put back."""

from types import SimpleNamespace

import pytest
from celery.exceptions import Reject

from caskeeper.contract import CommitRequest, RemoveRequest
from caskeeper.errors import Busy, CoordinatorUnavailable, LeaseLost, RemoteUnavailable
from tasks.runner import PATIENT_RETRIES, REMOVE_RETRIES, RETRIES, ServiceTask, retries_of


@pytest.mark.parametrize(
    ("kind", "error", "times"),
    [
        (RemoveRequest, Busy, REMOVE_RETRIES),
        (RemoveRequest, LeaseLost, PATIENT_RETRIES),
        (CommitRequest, Busy, PATIENT_RETRIES),
        (CommitRequest, CoordinatorUnavailable, PATIENT_RETRIES),
        (CommitRequest, RemoteUnavailable, RETRIES),
    ],
)
def test_what_stays_busy_for_a_user_is_told_soon_and_what_passes_is_waited_for(kind, error, times):
    assert retries_of(kind, error("x")) == times
    assert REMOVE_RETRIES <= 1


def test_what_is_settled_is_not_tried_again():
    settled = RemoteUnavailable("left alone")
    settled.settled = True
    assert retries_of(CommitRequest, settled) == 0


def test_an_execution_that_lost_its_lease_puts_its_message_back():
    """Another job of the same operation may hold it: then nobody else has this message."""
    lost = SimpleNamespace(cancelled=False, stopping=False, lost=True, loss=lambda: LeaseLost("taken"))
    with pytest.raises(Reject, match="lease lost: taken") as put_back:
        ServiceTask._again(ServiceTask(), lost, LeaseLost("x"))
    assert put_back.value.requeue
