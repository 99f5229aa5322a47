"""worker.status: the one table, read in both directions."""

from __future__ import annotations

import pytest

from caskeeper.errors import (
    BlobMissing,
    Busy,
    CaskeeperError,
    InvalidRequest,
    NoSpace,
    RemoteUnavailable,
    Transient,
    every_error,
)
from worker import status


def test_the_codes_are_the_numbers_of_grpc():
    import grpc

    for member in grpc.StatusCode:
        number, _text = member.value
        assert getattr(status, member.name) == number
        assert status.name_of(number) == member.name


def test_every_code_but_ok_has_exactly_one_row():
    assert sorted(row.code for row in status.TABLE) == list(range(1, 17))


@pytest.mark.parametrize("kind", every_error().values(), ids=lambda kind: kind.__name__)
def test_a_server_has_a_code_for_every_error_and_never_says_ok(kind):
    code = status.code_of(kind("it failed"))
    assert code not in {status.OK, status.UNKNOWN}


@pytest.mark.parametrize("kind", every_error().values(), ids=lambda kind: kind.__name__)
def test_trouble_of_the_server_never_reads_as_a_miss(kind):
    code = status.code_of(kind("it failed"))
    missing = kind.__name__ in {"BlobMissing", "ArtifactNotFound"}
    assert (status.error_of(code, "x").__class__ is BlobMissing) == missing


@pytest.mark.parametrize("row", [row for row in status.TABLE if row.sent_for], ids=lambda row: row.name)
def test_the_first_error_a_code_is_sent_for_keeps_its_retry_bit_on_the_way(row):
    assert status.code_of(row.sent_for[0]("x")) == row.code
    if row.code != status.ALREADY_EXISTS:
        assert isinstance(status.error_of(row.code, "x"), Transient) == issubclass(row.sent_for[0], Transient)


def test_a_full_remote_is_no_space():
    error = status.error_of(status.RESOURCE_EXHAUSTED, "full", "http://here", "make room")
    assert isinstance(error, NoSpace)
    assert (error.what, error.where, error.way_out) == ("full", "http://here", "make room")


def test_a_number_outside_the_table_is_trouble_of_the_remotes():
    assert isinstance(status.error_of(99, "x"), RemoteUnavailable)
    assert status.name_of(99) == "status 99"


def test_a_subclass_is_answered_like_its_parent():
    class Later(Busy):
        pass

    assert status.code_of(Later("x")) == status.ABORTED


def test_what_is_not_ours_is_unknown():
    assert status.code_of(ValueError("a bug")) == status.UNKNOWN
    assert status.code_of(CaskeeperError("unclassified")) == status.UNKNOWN


def test_transient_codes_never_say_that_the_request_is_wrong():
    for code in status.TRANSIENT_CODES:
        assert not isinstance(status.error_of(code, "x"), InvalidRequest)
        assert isinstance(status.error_of(code, "x"), Transient)
