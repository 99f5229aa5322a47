"""The one table between gRPC status codes and this project's errors (wire-protocols section 11).

A client reads it forwards (``error_of``), the server backwards (``code_of``). Codes are plain integers,
as they also stand in the entries of a batch; gRPC itself is not imported.
"""

from __future__ import annotations

from typing import NamedTuple

from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    Busy,
    CacheTooFull,
    Cancelled,
    CaskeeperError,
    ConfigInvalid,
    CoordinatorUnavailable,
    DeadlineExceeded,
    DestinationExists,
    DigestMismatch,
    InvalidRequest,
    LeaseLost,
    NoSpace,
    PartialArtifact,
    PermissionDenied,
    RemoteUnavailable,
    TooLarge,
    VolumeFailed,
)

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

#: The codes after which the same call may succeed a moment later.
TRANSIENT_CODES = frozenset({DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE})

#: What a server of ours tells a client to do. One of ours takes it off again: it has a way out of its own.
PUSH_ELSEWHERE = "push to another one"
UPLOAD_FIRST = "upload it, then send the reference again"


class Row(NamedTuple):
    """``read_as``: what a client makes of the code. ``sent_for``: the errors a server sends it for."""

    code: int
    name: str
    read_as: type[CaskeeperError]
    sent_for: tuple[type[CaskeeperError], ...] = ()


TABLE = (
    Row(CANCELLED, "CANCELLED", RemoteUnavailable, (Cancelled,)),
    Row(UNKNOWN, "UNKNOWN", RemoteUnavailable),
    Row(INVALID_ARGUMENT, "INVALID_ARGUMENT", InvalidRequest, (InvalidRequest,)),
    Row(DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", DeadlineExceeded, (DeadlineExceeded,)),
    Row(NOT_FOUND, "NOT_FOUND", BlobMissing, (BlobMissing, ArtifactNotFound)),
    Row(ALREADY_EXISTS, "ALREADY_EXISTS", RemoteUnavailable, (DestinationExists,)),
    Row(PERMISSION_DENIED, "PERMISSION_DENIED", PermissionDenied, (PermissionDenied,)),
    Row(RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", NoSpace, (NoSpace, CacheTooFull, TooLarge)),
    Row(FAILED_PRECONDITION, "FAILED_PRECONDITION", DigestMismatch, (DigestMismatch, PartialArtifact)),
    Row(ABORTED, "ABORTED", Busy, (Busy, LeaseLost)),
    Row(OUT_OF_RANGE, "OUT_OF_RANGE", InvalidRequest),
    # The url names a server of another kind: nothing changes by asking again.
    Row(UNIMPLEMENTED, "UNIMPLEMENTED", ConfigInvalid),
    # A disk that fails is trouble of the server's, never a miss (I10).
    Row(INTERNAL, "INTERNAL", RemoteUnavailable, (VolumeFailed, ConfigInvalid)),
    Row(UNAVAILABLE, "UNAVAILABLE", RemoteUnavailable, (RemoteUnavailable, CoordinatorUnavailable)),
    Row(DATA_LOSS, "DATA_LOSS", RemoteUnavailable),
    Row(UNAUTHENTICATED, "UNAUTHENTICATED", PermissionDenied),
)

_READ_AS = {row.code: row for row in TABLE}
_SENT_FOR = {kind: row.code for row in TABLE for kind in row.sent_for}


def name_of(code: int) -> str:
    """The name of a code; a number outside the table is shown as such."""
    if code == OK:
        return "OK"
    row = _READ_AS.get(code)
    return row.name if row else f"status {code}"


def error_of(code: int, what: str, where: str = "", way_out: str = "") -> CaskeeperError:
    """The error a client raises for a code other than OK; an unknown code is trouble of the remote's."""
    row = _READ_AS.get(code)
    return (row.read_as if row else RemoteUnavailable)(what, where, way_out)


def code_of(error: BaseException) -> int:
    """The code a server answers for an error; what is not one of ours is a bug and UNKNOWN."""
    for kind in type(error).__mro__:
        if kind in _SENT_FOR:
            return _SENT_FOR[kind]
    return UNKNOWN
