"""What a remote can do, asked once at the first contact (wire-protocols section 9)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from caskeeper.digest import Digest
from caskeeper.errors import ConfigInvalid
from worker import status
from worker._protos import bytestream_pb2 as bytestream
from worker._protos import reference_storage_pb2 as references
from worker._protos import remote_asset_pb2 as assets
from worker._protos import remote_execution_pb2 as reapi
from worker.batch_messages import BatchUpdateRequest
from worker.names import ACTION_KEY
from worker.remote import methods
from worker.remote.calls import result
from worker.remote.failure import CallFailed
from worker.remote.standing import REFUSED, Answer, choose
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.remote.channel import Connection
    from worker.remote.methods import Method

#: The payload of one message, whatever a server would take (wire-protocols section 8).
MESSAGE_BYTES = 1024 * 1024

#: An empty batch may be called invalid by a strict server: the method is there.
_PRESENT = frozenset({status.OK, status.INVALID_ARGUMENT})
_ABSENT = frozenset({status.UNIMPLEMENTED, status.INVALID_ARGUMENT})
#: An action that nobody has; a request without a digest might be more than a server can take.
_NO_ACTION = Digest.of(ACTION_KEY.encode())


class Capabilities(NamedTuple):
    """``message_bytes``: what a batch may weigh. The refusals are sentences, empty = allowed.

    ``protocol`` is how it is asked for names, empty when it knows no way that we do: ``index_refusal``.
    """

    message_bytes: int
    batch_read: bool
    batch_update: bool
    #: whether streams, and entries of batches that are sent, may be zstd
    zstd: bool = False
    zstd_updates: bool = False
    #: why it holds no content
    storage_refusal: str = ""
    #: why it takes no content
    upload_refusal: str = ""
    protocol: str = ""
    index_refusal: str = ""
    #: why no name can be bound there
    binding_refusal: str = ""

    @property
    def push_refusal(self) -> str:
        """Why it is not pushed to, names first."""
        return self.binding_refusal or self.upload_refusal


def negotiate(connection: Connection, timeout_s: float, *, role: str, index: str) -> Capabilities:
    """All probes at once under one deadline (D-22).

    What an old server does not know gets its default; refused pushing leaves fetching usable (D-15). Only
    the ``role`` (`type:`) counts that it is configured for. Raises CallFailed for a remote that does not
    answer, the error itself for one of no use.
    """
    end = time.monotonic() + timeout_s
    answers = _ask(connection, _probes(connection.instance_name, role=role, index=index), timeout_s)
    content = (methods.BATCH_READ, methods.BATCH_UPDATE) if role != "index" else ()
    for method, tolerated in (
        (methods.GET_CAPABILITIES, frozenset({status.UNIMPLEMENTED})),
        (methods.BATCH_READ, _ABSENT),
        (methods.BATCH_UPDATE, _ABSENT | REFUSED),
    ):
        answer = answers.get(method.path)
        if answer is not None and answer.failure and answer.code not in tolerated:
            raise answer.trouble(connection.url)
    found = Capabilities(
        message_bytes=_message_bytes(answers[methods.GET_CAPABILITIES.path], connection.url),
        batch_read=bool(content) and answers[methods.BATCH_READ.path].code in _PRESENT,
        batch_update=bool(content) and answers[methods.BATCH_UPDATE.path].code in _PRESENT,
    )
    if content:
        found = _with_compressors(found, answers[methods.GET_CAPABILITIES.path])
        update = answers[methods.BATCH_UPDATE.path]
        found = found._replace(upload_refusal=update.refusal if update.code in REFUSED else "")
        if {answers[method.path].code for method in content} == {status.UNIMPLEMENTED}:
            found = found._replace(storage_refusal=_storage_refusal(connection, end - time.monotonic()))
    else:
        found = found._replace(storage_refusal="it is configured as `type: index`")
    if role == "storage":
        return found._replace(index_refusal="it is configured as `type: storage`")
    standing = choose(answers, index, url=connection.url)
    return found._replace(
        protocol=standing.protocol, index_refusal=standing.refusal, binding_refusal=standing.binding_refusal
    )


def light_lookups(found: Capabilities, name: str) -> list[tuple[Method[Any, Any], Any]]:
    """What asks for a name and for content that nobody has: a server that lives may still hang in these."""
    nobodys = to_wire(_NO_ACTION)
    lookups: list[tuple[Method[Any, Any], Any]] = []
    if found.protocol == "reference-storage":
        asked = references.GetReferenceRequest(instance_name=name, key="caskeeper/nobodys/0")
        lookups.append((methods.GET_REFERENCE, asked))
    elif found.protocol == "remote-asset":
        uri = "urn:caskeeper:nobodys"
        lookups.append((methods.FETCH_BLOB, assets.FetchBlobRequest(instance_name=name, uris=[uri])))
    elif found.protocol == "action-cache":
        action = reapi.GetActionResultRequest(instance_name=name, action_digest=nobodys)
        lookups.append((methods.GET_ACTION_RESULT, action))
    if not found.storage_refusal:
        blobs = reapi.FindMissingBlobsRequest(instance_name=name, blob_digests=[nobodys])
        lookups.append((methods.FIND_MISSING, blobs))
        if found.batch_read:
            batch = reapi.BatchReadBlobsRequest(instance_name=name, digests=[nobodys])
            lookups.append((methods.BATCH_READ, batch))
        resource = f"{name}/blobs/{_NO_ACTION}".lstrip("/")
        lookups.append((methods.READ, bytestream.ReadRequest(resource_name=resource)))
    return lookups


def _probes(name: str, *, role: str, index: str) -> list[tuple[Method[Any, Any], Any]]:
    probes: list[tuple[Method[Any, Any], Any]] = [
        (methods.GET_CAPABILITIES, reapi.GetCapabilitiesRequest(instance_name=name))
    ]
    if role != "index":
        probes += [
            (methods.BATCH_READ, reapi.BatchReadBlobsRequest(instance_name=name)),
            (methods.BATCH_UPDATE, BatchUpdateRequest(name)),
        ]
    if role == "storage":
        return probes
    if index in {"auto", "remote-asset"}:
        probes += [
            (methods.FETCH_BLOB, assets.FetchBlobRequest(instance_name=name)),
            (methods.PUSH_BLOB, assets.PushBlobRequest(instance_name=name)),
        ]
    if index in {"auto", "reference-storage"}:
        probes.append((methods.STATUS, references.StatusRequest(instance_name=name)))
    if index in {"auto", "action-cache"}:
        nobodys = to_wire(_NO_ACTION)
        request = reapi.GetActionResultRequest(instance_name=name, action_digest=nobodys)
        probes.append((methods.GET_ACTION_RESULT, request))
    return probes


def _ask(
    connection: Connection, probes: list[tuple[Method[Any, Any], Any]], timeout_s: float
) -> Mapping[str, Answer]:
    futures = [
        (method, connection.unary(method).future(request, timeout=timeout_s)) for method, request in probes
    ]
    return {method.path: _outcome(method, future) for method, future in futures}


def _outcome(method: Method[Any, Any], future: Any) -> Answer:
    try:
        return Answer(method, result(future), None)
    except grpc.RpcError as error:
        return Answer(method, None, CallFailed.of(error))
    except grpc.FutureCancelledError:
        return Answer(method, None, CallFailed(status.UNAVAILABLE, "the connection was closed here"))


def _storage_refusal(connection: Connection, left_s: float) -> str:
    """A server that knows no batches is an old storage, or none at all."""
    request = reapi.FindMissingBlobsRequest(instance_name=connection.instance_name)
    answers = _ask(connection, [(methods.FIND_MISSING, request)], max(0.001, left_s))
    absent = answers[methods.FIND_MISSING.path].code == status.UNIMPLEMENTED
    return "it has no ContentAddressableStorage" if absent else ""


def _with_compressors(found: Capabilities, answer: Answer) -> Capabilities:
    if answer.response is None:
        return found
    cache = answer.response.cache_capabilities
    return found._replace(
        zstd=reapi.Compressor.ZSTD in cache.supported_compressors,
        zstd_updates=reapi.Compressor.ZSTD in cache.supported_batch_update_compressors,
    )


def _message_bytes(answer: Answer, url: str) -> int:
    if answer.response is None:
        return MESSAGE_BYTES
    cache = answer.response.cache_capabilities
    functions = set(cache.digest_functions)
    if functions and reapi.DigestFunction.SHA256 not in functions:
        raise ConfigInvalid("the remote does not speak SHA-256", url, "use another remote")
    theirs: int = cache.max_batch_total_size_bytes
    return min(MESSAGE_BYTES, theirs) if theirs > 0 else MESSAGE_BYTES
