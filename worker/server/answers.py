"""The boundary of every call: errors become statuses here, by the one table read backwards.

Nothing but a status leaves a handler: a foreseen error with its sentence, anything else is a bug, logged
with its traceback and told as INTERNAL (AC-80).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc

from caskeeper.digest import Digest
from caskeeper.errors import Cancelled, CaskeeperError, InvalidRequest, PermissionDenied, Transient
from worker import status
from worker.store.damage import ObjectDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker._protos.remote_execution_pb2 import Digest as DigestMessage

log = logging.getLogger(__name__)

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
#: Trailers are bounded at 8 KiB by default; a sentence never needs that much.
_DETAILS_CHARACTERS = 1000
_GONE = "the client went away"


def number_for(error: CaskeeperError) -> int:
    """The status of an error. What is damaged here is this server's loss and no fault of the client's."""
    return status.DATA_LOSS if isinstance(error, ObjectDamaged) else status.code_of(error)


def code_for(error: CaskeeperError) -> grpc.StatusCode:
    """As ``number_for``, for a call as a whole."""
    return _CODES.get(number_for(error), grpc.StatusCode.UNKNOWN)


def details_of(error: CaskeeperError) -> str:
    """The error's sentence, short enough for a trailer.

    Without a place on our own disk, and what its owner can do there: neither is a peer's business.
    """
    own = error.where.startswith("/")
    return (error.template.format(what=error.what) if own else str(error))[:_DETAILS_CHARACTERS]


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, error: CaskeeperError) -> NoReturn:
    """End the call with ``code`` where the protocol wants another than the table's."""
    context.abort(code, details_of(error))


def refuse_when_read_only(context: grpc.ServicerContext, *, read_only: bool) -> None:
    """PERMISSION_DENIED for a change, whatever is in it (wire-protocols section 12)."""
    if read_only:
        refuse(
            context,
            grpc.StatusCode.PERMISSION_DENIED,
            PermissionDenied("this server is read-only", way_out=status.PUSH_ELSEWHERE),
        )


def require_client(context: grpc.ServicerContext) -> None:
    """Raises Cancelled when nobody waits for the answer any more."""
    if not context.is_active():
        raise Cancelled(_GONE)


def checked_digest(message: DigestMessage) -> Digest:
    """A digest from the network. Raises InvalidRequest."""
    return Digest.checked(message.hash, message.size_bytes)


def _end(context: grpc.ServicerContext, trouble: Exception) -> NoReturn:
    """The status of what a handler raised."""
    asked: Any = context  # the stubs do not know `code`
    if asked.code() is not None:
        raise trouble  # it was ended by `refuse`: grpc's own way out of a handler
    if isinstance(trouble, CaskeeperError):
        code = code_for(trouble)
        if isinstance(trouble, Transient) and not isinstance(trouble, Cancelled):
            log.warning("call failed", extra={"code": code.name, "error": str(trouble)})
        context.abort(code, details_of(trouble))
    if isinstance(trouble, grpc.RpcError):
        context.abort(grpc.StatusCode.CANCELLED, _GONE)
    log.error("bug in a call", exc_info=trouble)
    context.abort(grpc.StatusCode.INTERNAL, f"bug in the server: {type(trouble).__name__}")


def answering(
    handler: Callable[[Asked, grpc.ServicerContext], Answered],
) -> Callable[[Asked, grpc.ServicerContext], Answered]:
    """``handler`` (one answer) inside the boundary."""

    def call(request: Asked, context: grpc.ServicerContext) -> Answered:
        try:
            return handler(request, context)
        except Exception as trouble:  # noqa: BLE001 -- the boundary: whatever it is, the caller gets a status
            _end(context, trouble)

    return call


def streaming(
    handler: Callable[[Asked, grpc.ServicerContext], Iterator[Answered]],
) -> Callable[[Asked, grpc.ServicerContext], Iterator[Answered]]:
    """``handler`` (a stream of answers) inside the boundary."""

    def call(request: Asked, context: grpc.ServicerContext) -> Iterator[Answered]:
        try:
            yield from handler(request, context)
        except Exception as trouble:  # noqa: BLE001 -- the boundary: whatever it is, the caller gets a status
            _end(context, trouble)

    return call


def invalid(what: str, *, where: str = "", way_out: str = "") -> InvalidRequest:
    """A request that breaks the protocol."""
    return InvalidRequest(what, where, way_out or "the client breaks the protocol: report it there")
