"""The settings that delivery rests on (queue.md 2.1), and the tasks of the contract."""

import pytest

from caskeeper.config import LeaseSettings, Settings
from caskeeper.contract import LANES, REQUESTS, queue_of
from caskeeper.errors import CaskeeperError, ConfigInvalid, InvalidRequest
from tasks.app import chosen_lanes
from tasks.celery_app import make_app, make_application
from tasks.delivery import DeliverySettings
from tasks.schedule import entries
from tasks.timers import TidyTimers

URL = "redis://127.0.0.1:1/0"
SETTINGS = Settings(cachedir="/nonexistent")


def unused():
    raise AssertionError("nothing is built or connected when an application is made")


@pytest.fixture
def app():
    return make_application(SETTINGS, URL, flights=unused, build=unused).app


def test_every_request_of_the_contract_is_a_task_on_its_lane(app):
    for name, kind in REQUESTS.items():
        assert app.tasks[name].kind is kind
        assert app.amqp.router.route({}, name)["queue"].name == queue_of(kind.LANE)


def test_what_beat_sends_is_shown_as_short_as_what_others_send():
    for entry in entries().values():
        assert entry["options"]["argsrepr"] == "()"
        assert entry["options"]["kwargsrepr"] == REQUESTS[entry["task"]].from_json(entry["kwargs"]).subject()


def test_the_timers_of_ended_jobs_are_taken_out(app):
    assert TidyTimers in app.steps["consumer"]


def test_nothing_is_lost_with_a_worker(app):
    for name in REQUESTS:
        task = app.tasks[name]
        assert task.acks_late
        assert task.reject_on_worker_lost
        assert task.throws == (CaskeeperError,)
        assert not task.track_started, "a copy that waits for the lease has not started"
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.result_backend_always_retry
    assert app.conf.worker_deduplicate_successful_tasks


def test_only_json_is_spoken(app):
    assert app.conf.accept_content == ["json"]
    assert app.conf.result_accept_content == ["json"]
    assert {app.conf.task_serializer, app.conf.result_serializer, app.conf.event_serializer} == {"json"}


def test_time_limits_are_not_below_an_operations_life():
    settings = Settings(cachedir="/nonexistent", leases=LeaseSettings(operation_life_s=100_000.0))
    app = make_app(settings, URL)
    assert 100_000 < app.conf.task_soft_time_limit < app.conf.task_time_limit


def test_a_dead_workers_lease_is_over_when_its_message_comes_back():
    times = DeliverySettings()
    assert times.lease_ttl_s < times.visibility_timeout_s
    with pytest.raises(ConfigInvalid):
        make_application(
            SETTINGS,
            URL,
            flights=unused,
            build=unused,
            delivery=DeliverySettings(visibility_timeout_s=5.0, lease_ttl_s=5.0),
        )


def test_what_beat_sends_is_known_routed_and_expires(app):
    assert app.conf.beat_schedule
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in REQUESTS
        assert entry["options"]["queue"] == queue_of(REQUESTS[entry["task"]].LANE)
        assert entry["options"]["expires"] <= entry["schedule"]


def test_lanes_are_served_in_their_fixed_order():
    assert chosen_lanes(["push", "pull"]) == ("pull", "push")
    assert chosen_lanes([]) == LANES
    with pytest.raises(InvalidRequest, match="no lane 'pul'"):
        chosen_lanes(["pul"])
