"""The calls we make: their paths, their messages, and which answers make no sense for them.

One table instead of generated stubs: it is typed, and it says per call what a code may mean.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from worker import status
from worker._protos import bytestream_pb2 as bytestream
from worker._protos import reference_storage_pb2 as references
from worker._protos import remote_asset_pb2 as assets
from worker._protos import remote_execution_pb2 as reapi
from worker.batch_messages import BatchUpdateRequest
from worker.batch_reading import BatchReadAnswer
from worker.stream_messages import ReadResponse, WriteRequest

Asked = TypeVar("Asked", bound=Message | BatchUpdateRequest | WriteRequest)
Answered = TypeVar("Answered", bound=Message | BatchReadAnswer | ReadResponse)

_CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
_CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities"
_BYTESTREAM = "/google.bytestream.ByteStream"
_REFERENCES = "/buildstream.v2.ReferenceStorage"
_FETCH = "/build.bazel.remote.asset.v1.Fetch"
_PUSH = "/build.bazel.remote.asset.v1.Push"
_ACTIONS = "/build.bazel.remote.execution.v2.ActionCache"

# A code that a call has no use for is trouble of the remote's and must not be taken for what it says
# elsewhere: only a read can miss (I10), only a write can find the remote full or the content wrong.
_ASKING = frozenset({status.NOT_FOUND, status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION})
_READING = frozenset({status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION})
_WRITING = frozenset({status.NOT_FOUND})
# FAILED_PRECONDITION: content vanished there since it was looked for; pushing again heals it.
# Where others hold the content it never came there, and it does not (`apart.py`).
_BINDING = frozenset({status.NOT_FOUND, status.FAILED_PRECONDITION})


class Method(NamedTuple, Generic[Asked, Answered]):
    """One method; ``unexpected`` codes are read as a remote that is out of order; ``binds`` a name."""

    path: str
    request: type[Asked]
    answer: type[Answered]
    unexpected: frozenset[int]
    binds: bool = False

    @property
    def name(self) -> str:
        """The method's own name, for messages."""
        return self.path.rpartition("/")[2]


GET_CAPABILITIES = Method(
    f"{_CAPABILITIES}/GetCapabilities",
    reapi.GetCapabilitiesRequest,
    reapi.ServerCapabilities,
    _ASKING,
)
FIND_MISSING = Method(
    f"{_CAS}/FindMissingBlobs",
    reapi.FindMissingBlobsRequest,
    reapi.FindMissingBlobsResponse,
    _ASKING,
)
BATCH_READ = Method(
    f"{_CAS}/BatchReadBlobs",
    reapi.BatchReadBlobsRequest,
    BatchReadAnswer,
    _READING,
)
BATCH_UPDATE = Method(
    f"{_CAS}/BatchUpdateBlobs",
    BatchUpdateRequest,
    reapi.BatchUpdateBlobsResponse,
    _WRITING,
)
READ = Method(
    f"{_BYTESTREAM}/Read",
    bytestream.ReadRequest,
    ReadResponse,
    _READING,
)
WRITE = Method(
    f"{_BYTESTREAM}/Write",
    WriteRequest,
    bytestream.WriteResponse,
    _WRITING,
)
QUERY_WRITE_STATUS = Method(
    f"{_BYTESTREAM}/QueryWriteStatus",
    bytestream.QueryWriteStatusRequest,
    bytestream.QueryWriteStatusResponse,
    _READING,
)
STATUS = Method(
    f"{_REFERENCES}/Status",
    references.StatusRequest,
    references.StatusResponse,
    _ASKING,
)
GET_REFERENCE = Method(
    f"{_REFERENCES}/GetReference",
    references.GetReferenceRequest,
    references.GetReferenceResponse,
    _READING,
)
UPDATE_REFERENCE = Method(
    f"{_REFERENCES}/UpdateReference",
    references.UpdateReferenceRequest,
    references.UpdateReferenceResponse,
    _BINDING,
    binds=True,
)
FETCH_BLOB = Method(
    f"{_FETCH}/FetchBlob",
    assets.FetchBlobRequest,
    assets.FetchBlobResponse,
    _READING,
)
FETCH_DIRECTORY = Method(
    f"{_FETCH}/FetchDirectory",
    assets.FetchDirectoryRequest,
    assets.FetchDirectoryResponse,
    _READING,
)
PUSH_BLOB = Method(
    f"{_PUSH}/PushBlob",
    assets.PushBlobRequest,
    assets.PushBlobResponse,
    _BINDING,
    binds=True,
)
PUSH_DIRECTORY = Method(
    f"{_PUSH}/PushDirectory",
    assets.PushDirectoryRequest,
    assets.PushDirectoryResponse,
    _BINDING,
    binds=True,
)
GET_ACTION_RESULT = Method(
    f"{_ACTIONS}/GetActionResult",
    reapi.GetActionResultRequest,
    reapi.ActionResult,
    _READING,
)
UPDATE_ACTION_RESULT = Method(
    f"{_ACTIONS}/UpdateActionResult",
    reapi.UpdateActionResultRequest,
    reapi.ActionResult,
    _BINDING,
    binds=True,
)

#: What looks a name up: light at every server, and asked before anything else.
LOOKUPS: tuple[Method[Any, Any], ...] = (GET_REFERENCE, FETCH_BLOB, FETCH_DIRECTORY, GET_ACTION_RESULT)
