"""Calls in numbers: only methods that there are have a name."""

from types import SimpleNamespace

import grpc
import pytest

from worker.server.metered import OTHER, Metered
from worker.telemetry import metrics

METHOD = "/some.v1.Service/Do"


def answer(_request, _context):
    return b""


@pytest.fixture
def heard():
    heard = []
    metrics.send_to(heard.extend)
    yield heard
    metrics.send_to(None)


class Context:
    """Tells at once that the call is over."""

    def __init__(self, code):
        self._code = code

    def add_callback(self, _over):
        return False

    def code(self):
        return self._code


def call(metered, method, handler):
    made = metered.intercept_service(lambda _details: handler, SimpleNamespace(method=method))
    made.unary_unary(b"", Context(grpc.StatusCode.OK))
    return made


def test_who_is_refused_cannot_fill_the_memory_with_names(heard):
    own = grpc.unary_unary_rpc_method_handler(answer)
    metered = Metered([grpc.method_handlers_generic_handler("some.v1.Service", {"Do": own})])
    refusal = grpc.unary_unary_rpc_method_handler(answer)
    for number in range(50):
        call(metered, f"/made.up/{number}", refusal)
    assert {one.labels[0] for one in heard} == {OTHER}
    assert len(metered._made) == 0
    assert call(metered, METHOD, own) is call(metered, METHOD, own), "made once"
    assert heard[-1].labels[0] == "Service/Do"
