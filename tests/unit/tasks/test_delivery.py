"""How an execution begins, as far as it needs no queue."""

import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from celery.exceptions import Reject
from celery.worker import state as worker_state

from caskeeper.coordination.jobs import Renewed, Taken
from caskeeper.errors import CoordinatorUnavailable
from tasks.delivery import Delivery, DeliveryHeartbeat, DeliverySettings, Operation

ENDED = {"status": "SUCCESS", "result": {}}


class Jobs:
    """Takes; then Redis is away, and the worker is told to stop."""

    def __init__(self):
        self.stop = lambda: None
        self.renewed = 0

    def take(self, begin, state):
        return Taken("OK", starts=1, stays="ended")

    def renew(self, *_about, life_s):
        self.renewed += 1
        return Renewed(held=True, cancelled=False)

    def release(self, *_about):
        self.stop()
        raise CoordinatorUnavailable("away")


def test_a_worker_that_stops_while_an_execution_begins_leaves_no_lease_that_is_renewed():
    jobs = Jobs()
    delivery = Delivery(lambda: SimpleNamespace(jobs=jobs), DeliverySettings(lease_ttl_s=0.004))
    jobs.stop = delivery.stopping.set
    task = SimpleNamespace(
        name="artifacts.pull",
        request=SimpleNamespace(id="j", hostname="w", retries=0),
        request_stack=SimpleNamespace(top=None),
        backend=SimpleNamespace(begun=Mock(), judged=Mock(return_value=ENDED)),
    )
    with pytest.raises(Reject) as put_back:
        delivery.begin(task, Operation("f", "pull", "p/e/k", joinable=True))
    assert put_back.value.requeue
    assert delivery.executions == {}
    renewed = jobs.renewed
    time.sleep(0.05)
    assert jobs.renewed == renewed


class Waits:
    """A message that was taken, and is to begin later."""

    message = SimpleNamespace(delivery_tag="tag", _raw={}, delivery_info={"exchange": "", "routing_key": "q"})


def test_what_is_tried_again_later_is_renewed_meanwhile(monkeypatch):
    renewed = []
    flights = SimpleNamespace(beat=lambda _holder, _number, messages, **_: renewed.extend(messages))
    monkeypatch.setattr(
        DeliveryHeartbeat, "delivery", Delivery(lambda: flights, DeliverySettings()), raising=False
    )
    waits = Waits()
    worker_state.scheduled_requests.add(waits)
    DeliveryHeartbeat(Mock()).beat()
    assert renewed == ["tag"]
