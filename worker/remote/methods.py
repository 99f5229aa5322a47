"""The calls we make: their paths, their messages, and which answers make no sense for them.

One table instead of generated stubs: it is typed, and it says per call what a code may mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from worker import status
from worker._protos import bytestream_pb2 as bytestream
from worker._protos import reference_storage_pb2 as references
from worker._protos import remote_execution_pb2 as reapi

if TYPE_CHECKING:
    from collections.abc import Callable

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
_CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities"
_BYTESTREAM = "/google.bytestream.ByteStream"
_REFERENCES = "/buildstream.v2.ReferenceStorage"

# A code that a call has no use for is trouble of the remote's and must not be taken for what it says
# elsewhere: only a read can miss (I10), only a write can find the remote full or the content wrong.
_ASKING = frozenset({status.NOT_FOUND, status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION})
_READING = frozenset({status.RESOURCE_EXHAUSTED, status.FAILED_PRECONDITION})
_WRITING = frozenset({status.NOT_FOUND})
# FAILED_PRECONDITION: content vanished there since it was looked for; pushing again heals it.
_BINDING = frozenset({status.NOT_FOUND, status.FAILED_PRECONDITION})


class Method(NamedTuple, Generic[Asked, Answered]):
    """One method; ``unexpected`` codes are read as a remote that is out of order."""

    path: str
    encode: Callable[[Asked], bytes]
    decode: Callable[[bytes], Answered]
    unexpected: frozenset[int]

    @property
    def name(self) -> str:
        """The method's own name, for messages."""
        return self.path.rpartition("/")[2]


GET_CAPABILITIES = Method(
    f"{_CAPABILITIES}/GetCapabilities",
    reapi.GetCapabilitiesRequest.SerializeToString,
    reapi.ServerCapabilities.FromString,
    _ASKING,
)
FIND_MISSING = Method(
    f"{_CAS}/FindMissingBlobs",
    reapi.FindMissingBlobsRequest.SerializeToString,
    reapi.FindMissingBlobsResponse.FromString,
    _ASKING,
)
BATCH_READ = Method(
    f"{_CAS}/BatchReadBlobs",
    reapi.BatchReadBlobsRequest.SerializeToString,
    reapi.BatchReadBlobsResponse.FromString,
    _READING,
)
BATCH_UPDATE = Method(
    f"{_CAS}/BatchUpdateBlobs",
    reapi.BatchUpdateBlobsRequest.SerializeToString,
    reapi.BatchUpdateBlobsResponse.FromString,
    _WRITING,
)
READ = Method(
    f"{_BYTESTREAM}/Read",
    bytestream.ReadRequest.SerializeToString,
    bytestream.ReadResponse.FromString,
    _READING,
)
WRITE = Method(
    f"{_BYTESTREAM}/Write",
    bytestream.WriteRequest.SerializeToString,
    bytestream.WriteResponse.FromString,
    _WRITING,
)
STATUS = Method(
    f"{_REFERENCES}/Status",
    references.StatusRequest.SerializeToString,
    references.StatusResponse.FromString,
    _ASKING,
)
GET_REFERENCE = Method(
    f"{_REFERENCES}/GetReference",
    references.GetReferenceRequest.SerializeToString,
    references.GetReferenceResponse.FromString,
    _READING,
)
UPDATE_REFERENCE = Method(
    f"{_REFERENCES}/UpdateReference",
    references.UpdateReferenceRequest.SerializeToString,
    references.UpdateReferenceResponse.FromString,
    _BINDING,
)
