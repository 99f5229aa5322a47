"""The tables of names agree with what they name: written out, so that nothing is loaded to read one."""

import inspect

import pytest

from caskeeper import contract
from caskeeper.contract import REQUESTS, lane_of
from worker import assembly
from worker.part import Part


@pytest.mark.parametrize("task", REQUESTS)
def test_a_task_has_the_request_that_names_it(task):
    request = REQUESTS[task]
    assert (task, lane_of(task)) == (request.TASK, request.LANE)
    assert issubclass(request.RESULT, contract.Message)


def test_every_name_is_exported_and_every_export_is_there():
    eager = {name for name in contract.__all__ if name not in contract._HOMES}
    assert eager == {"LANES", "REQUESTS", "VERSION", "Message", "Request", "lane_of", "queue_of"}
    assert set(contract._HOMES) <= set(contract.__all__)
    for name, home in contract._HOMES.items():
        assert hasattr(contract, name)
        found = getattr(contract, name)
        assert getattr(found, "__module__", f"caskeeper.{home}") == f"caskeeper.{home}"


@pytest.mark.parametrize("task", REQUESTS)
def test_every_task_has_a_service(task):
    assert isinstance(inspect.getattr_static(assembly.Services, assembly._VERBS[task]), Part)


def test_no_service_is_for_a_task_that_nobody_can_send():
    assert set(assembly._VERBS) == set(REQUESTS)
