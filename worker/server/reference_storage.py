"""ReferenceStorage: the ref index of BuildStream 1 over the fleet's refs (wire-protocols sections 5 and 12).

Stricter than the reference (interface section 5): a hit means that the whole content is here and stays for
`upload-grace`; an update is refused while content is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from caskeeper.artifact import Ref
from caskeeper.errors import InvalidRequest
from worker._protos import reference_storage_pb2 as wire
from worker.protocols import DIRECTORY
from worker.server.answers import answering, checked_digest, invalid, refuse, refuse_when_read_only
from worker.server.published import MAX_NAMES, Content
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from worker.server.published import PublishedRefs

SERVICE = "buildstream.v2.ReferenceStorage"


class ReferenceStorage:
    """The three calls. Made once for a server."""

    def __init__(self, refs: PublishedRefs, *, read_only: bool) -> None:
        self._refs = refs
        self._read_only = read_only

    def get(
        self, request: wire.GetReferenceRequest, context: grpc.ServicerContext
    ) -> wire.GetReferenceResponse:
        """The root of a complete tree, all of it made young."""
        try:
            ref = Ref.parse(request.key, where="key")
        except InvalidRequest as fault:
            refuse(context, grpc.StatusCode.NOT_FOUND, fault)
        root = self._refs.find(ref, context, kinds={DIRECTORY}).root
        return wire.GetReferenceResponse(digest=to_wire(root))

    def update(
        self, request: wire.UpdateReferenceRequest, context: grpc.ServicerContext
    ) -> wire.UpdateReferenceResponse:
        """Bind every key to a tree whose content was uploaded before."""
        refuse_when_read_only(context, read_only=self._read_only)
        if len(request.keys) > MAX_NAMES:
            raise invalid(f"one update has at most {MAX_NAMES} keys", way_out="send several")
        refs = [Ref.parse(key, where="key") for key in request.keys]
        if not refs:
            raise invalid("an update without a key")
        content = Content((checked_digest(request.digest),), DIRECTORY)
        self._refs.publish("update-reference", {ref: {} for ref in refs}, lambda _take: content, context)
        return wire.UpdateReferenceResponse()

    def status(self, _request: wire.StatusRequest, _context: grpc.ServicerContext) -> wire.StatusResponse:
        """Whether updates are taken."""
        return wire.StatusResponse(allow_updates=not self._read_only)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, ready to be added to a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetReference": grpc.unary_unary_rpc_method_handler(
                    answering(self.get),
                    request_deserializer=wire.GetReferenceRequest.FromString,
                    response_serializer=wire.GetReferenceResponse.SerializeToString,
                ),
                "UpdateReference": grpc.unary_unary_rpc_method_handler(
                    answering(self.update),
                    request_deserializer=wire.UpdateReferenceRequest.FromString,
                    response_serializer=wire.UpdateReferenceResponse.SerializeToString,
                ),
                "Status": grpc.unary_unary_rpc_method_handler(
                    answering(self.status),
                    request_deserializer=wire.StatusRequest.FromString,
                    response_serializer=wire.StatusResponse.SerializeToString,
                ),
            },
        )
