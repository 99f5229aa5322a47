"""What a remote can do, asked once at the first contact (wire-protocols section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from caskeeper.errors import ConfigInvalid
from worker import status
from worker._protos import reference_storage_pb2 as references
from worker._protos import remote_execution_pb2 as reapi
from worker.remote import methods
from worker.remote.failure import CallFailed

if TYPE_CHECKING:
    from worker.remote.channel import Connection
    from worker.remote.methods import Method

#: The payload of one message, whatever a server would take (wire-protocols section 8).
MESSAGE_BYTES = 1024 * 1024

_REFUSED = frozenset({status.PERMISSION_DENIED, status.UNAUTHENTICATED})
#: An empty batch may be called invalid by a strict server: the method is there.
_PRESENT = frozenset({status.OK, status.INVALID_ARGUMENT})


class Capabilities(NamedTuple):
    """``message_bytes``: what a batch may weigh. The refusals are sentences, empty = allowed."""

    message_bytes: int
    batch_read: bool
    batch_update: bool
    push_refusal: str
    index_refusal: str


class _Answer(NamedTuple):
    method: Method[Any, Any]
    response: Any
    failure: CallFailed | None

    @property
    def code(self) -> int:
        return self.failure.code if self.failure else status.OK


def negotiate(connection: Connection, timeout_s: float) -> Capabilities:
    """All probes at once under one deadline (D-22).

    What an old server does not know gets its default; refused pushing leaves fetching usable (D-15).
    Raises CallFailed for a remote that does not answer, the error itself for one of no use.
    """
    name = connection.instance_name
    probes: tuple[tuple[Method[Any, Any], Any], ...] = (
        (methods.GET_CAPABILITIES, reapi.GetCapabilitiesRequest(instance_name=name)),
        (methods.BATCH_READ, reapi.BatchReadBlobsRequest(instance_name=name)),
        (methods.BATCH_UPDATE, reapi.BatchUpdateBlobsRequest(instance_name=name)),
        (methods.STATUS, references.StatusRequest(instance_name=name)),
    )
    futures = [
        (method, connection.unary(method).future(request, timeout=timeout_s)) for method, request in probes
    ]
    server, read, update, index = (_outcome(method, future) for method, future in futures)
    for answer, tolerated in (
        (server, frozenset({status.UNIMPLEMENTED})),
        (read, frozenset({status.UNIMPLEMENTED, status.INVALID_ARGUMENT})),
        (update, frozenset({status.UNIMPLEMENTED, status.INVALID_ARGUMENT}) | _REFUSED),
        (index, frozenset({status.UNIMPLEMENTED}) | _REFUSED),
    ):
        if answer.failure and answer.code not in tolerated:
            if answer.failure.transient:
                raise answer.failure
            raise answer.failure.error(answer.method, connection.url)
    return Capabilities(
        message_bytes=_message_bytes(server, connection.url),
        batch_read=read.code in _PRESENT,
        batch_update=update.code in _PRESENT,
        push_refusal=_push_refusal(update, index),
        index_refusal="it has no ReferenceStorage" if index.code == status.UNIMPLEMENTED else "",
    )


def _outcome(method: Method[Any, Any], future: Any) -> _Answer:
    try:
        return _Answer(method, future.result(), None)
    except grpc.RpcError as error:
        return _Answer(method, None, CallFailed.of(error))
    except grpc.FutureCancelledError:
        return _Answer(method, None, CallFailed(status.UNAVAILABLE, "the connection was closed here"))


def _message_bytes(answer: _Answer, url: str) -> int:
    if answer.response is None:
        return MESSAGE_BYTES
    cache = answer.response.cache_capabilities
    functions = set(cache.digest_functions)
    if functions and reapi.DigestFunction.SHA256 not in functions:
        raise ConfigInvalid("the remote does not speak SHA-256", url, "use another remote")
    theirs: int = cache.max_batch_total_size_bytes
    return min(MESSAGE_BYTES, theirs) if theirs > 0 else MESSAGE_BYTES


def _push_refusal(update: _Answer, index: _Answer) -> str:
    if index.code == status.UNIMPLEMENTED:
        return "it has no ReferenceStorage"
    if index.response is not None and not index.response.allow_updates:
        return "the server does not allow push"
    for answer in (index, update):
        if answer.code in _REFUSED:
            return f"{answer.method.name} answered {status.name_of(answer.code)}"
    return ""
