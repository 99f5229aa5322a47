"""Every error class arrives as what it was: through JSON, pickle, and the queue's way of rebuilding it."""

import json
import pickle
import re
from pathlib import Path

import pytest
from celery import Celery
from celery.backends.base import Backend
from harness.commands import call

from caskeeper.errors import CaskeeperError, Permanent, Transient, every_error, from_json
from caskeeper.job import error_of
from worker.status import code_of

#: interface section 7
CODES = {
    10: {"InvalidRequest"},
    11: {"ArtifactNotFound"},
    12: {"BlobMissing", "PartialArtifact"},
    13: {"DigestMismatch"},
    14: {"PermissionDenied"},
    15: {"CacheTooFull", "TooLarge"},
    16: {"DestinationExists"},
    17: {"ConfigInvalid"},
    20: {"RemoteUnavailable"},
    21: {"DeadlineExceeded"},
    22: {"NoSpace"},
    23: {"LeaseLost"},
    24: {"Busy", "VolumeFailed"},
    25: {"CoordinatorUnavailable"},
    26: {"Cancelled"},
}
ARGUMENTS = ("the file «ü» {is} 100% bad\n", "tree/ü [line 3 column 0]", "try another")
EVERY = list(every_error().values())


def same(error, other):
    return (type(other), str(other), other.to_json()) == (type(error), str(error), error.to_json())


def test_the_classes_and_their_codes_are_the_promised_ones():
    found = {}
    for name, kind in every_error().items():
        found.setdefault(kind.exit_code, set()).add(name)
    assert found == CODES
    assert all(issubclass(kind, Permanent if kind.exit_code < 20 else Transient) for kind in EVERY)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_comes_back_as_it_was(kind, count):
    error = kind(*ARGUMENTS[:count])
    assert same(error, from_json(json.loads(json.dumps(error.to_json()))))
    assert same(error, pickle.loads(pickle.dumps(error)))
    assert same(error, type(error)(*error.args))
    assert str(error).endswith(error.way_out)
    assert error.way_out, "no way out by default"
    assert ARGUMENTS[0] in str(error)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_the_queue_stores_and_rebuilds_it(kind):
    error = kind(*ARGUMENTS)
    app = Celery(set_as_current=False)
    app.conf.result_serializer = "json"
    backend = Backend(app)
    stored = json.loads(json.dumps(backend.prepare_exception(error)))
    assert same(error, backend.exception_to_python(stored))
    assert same(error, error_of({"status": "FAILURE", "task_id": "1", "result": stored}))


def test_an_unknown_class_of_a_newer_worker_keeps_its_family():
    later = {"error": "Overbooked", "what": "no room", "where": "here", "way_out": "wait", "retry": True}
    error = from_json(later)
    assert isinstance(error, Transient)
    assert error.args == ("no room", "here", "wait")
    assert isinstance(from_json({**later, "retry": False}), Permanent)
    assert isinstance(from_json({}), CaskeeperError)


def test_every_class_has_a_status_for_the_wire():
    assert {kind.__name__ for kind in EVERY if code_of(kind("x")) in {0, 2}} == set()


def test_every_class_is_provoked_in_some_test_of_the_command():
    here = Path(__file__).parent
    text = "".join(
        path.read_text() for path in here.glob("test_errors_*.py") if path.name != Path(__file__).name
    )
    provoked = set(re.findall(r'error="(\w+)"', text)) | set(re.findall(r'== \("(\w+)", \d\d', text))
    assert set(every_error()) - provoked == set()


def test_help_tells_of_the_codes():
    said = call("--help").stdout
    assert all(
        text in " ".join(said.split())
        for text in ("0 done", "1 a bug", "2 usage", "3 done with remarks", "130")
    )
