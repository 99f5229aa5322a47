"""Names of artifacts on a server of BuildStream 1's kind (wire-protocols section 5), as a RefIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.digest import Digest
from caskeeper.errors import BlobMissing, ConfigInvalid, InvalidRequest, RemoteUnavailable
from worker._protos import reference_storage_pb2 as references
from worker._protos import remote_execution_pb2 as reapi
from worker.protocols import Published
from worker.remote.methods import GET_REFERENCE, UPDATE_REFERENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from worker.remote.session import Session

#: ``Kind`` of ref_record.proto that this index can hold: a directory tree.
_DIRECTORY = 0


class ReferenceStorageIndex:
    """Knows directory trees only: a name has one root."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def resolve(self, ref: Ref) -> Published | None:
        """None when the remote answered that it has no such ref, or no longer all of its content."""
        self._require()
        request = references.GetReferenceRequest(instance_name=self._session.instance_name, key=str(ref))

        def read(answer: references.GetReferenceResponse) -> tuple[str, int]:
            return answer.digest.hash, answer.digest.size_bytes

        try:
            hash_hex, size_bytes = self._session.unary(GET_REFERENCE, request, read=read, where=str(ref))
        except BlobMissing:
            return None
        try:
            return Published((Digest.checked(hash_hex, size_bytes),), _DIRECTORY)
        except InvalidRequest as malformed:
            what = f"it answered for {ref} what is no digest: {malformed.what}"
            raise RemoteUnavailable(what, self._session.url) from None

    def publish(self, refs: Sequence[Ref], published: Published) -> None:
        """All names in one call; what a name was bound to before is overwritten (AC-63)."""
        if published.kind != _DIRECTORY or len(published.roots) != 1:
            raise InvalidRequest(
                "only a directory tree can be named on this remote",
                self._session.url,
                "push it to a remote with another kind of index",
            )
        if not refs:
            return
        self._require()
        root = published.root
        request = references.UpdateReferenceRequest(
            instance_name=self._session.instance_name,
            keys=[str(ref) for ref in refs],
            digest=reapi.Digest(hash=root.hash, size_bytes=root.size_bytes),
        )
        self._session.unary(UPDATE_REFERENCE, request, read=lambda _answer: None, where=str(refs[0]))

    def _require(self) -> None:
        refusal = self._session.capabilities().index_refusal
        if refusal:
            raise ConfigInvalid(
                f"the remote cannot name artifacts: {refusal}",
                self._session.url,
                "check that the url names an artifact server of this kind",
            )
