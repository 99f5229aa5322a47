"""Names of artifacts on a server of BuildStream 1's kind (wire-protocols section 5), as a RefIndex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.errors import BlobMissing, InvalidRequest
from worker._protos import reference_storage_pb2 as references
from worker.protocols import DIRECTORY, Published
from worker.remote.answers import answered_digest
from worker.remote.methods import GET_REFERENCE, UPDATE_REFERENCE
from worker.wire_digests import to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.artifact import Ref
    from worker.remote.session import Session


class ReferenceStorageIndex:
    """Knows directory trees only: a name has one root."""

    kinds = frozenset({DIRECTORY})

    def __init__(self, session: Session) -> None:
        self._session = session

    def resolve(self, ref: Ref) -> Published | None:
        """None when the remote answered that it has no such ref, or no longer all of its content."""
        request = references.GetReferenceRequest(instance_name=self._session.instance_name, key=str(ref))

        def read(answer: references.GetReferenceResponse) -> Published:
            return Published((answered_digest(answer.digest, ref, url=self._session.url),), DIRECTORY)

        try:
            return self._session.unary(GET_REFERENCE, request, read=read, where=str(ref))
        except BlobMissing:
            return None

    def publish(self, refs: Sequence[Ref], published: Published, *, tree: Callable[[], bytes]) -> None:
        """All names in one call; what a name was bound to before is overwritten (AC-63). No ``tree``."""
        if published.kind != DIRECTORY or len(published.roots) != 1:
            raise InvalidRequest(
                "only a directory tree can be named on this remote",
                self._session.url,
                "push it to a remote with another kind of index",
            )
        if not refs:
            return
        root = published.root
        request = references.UpdateReferenceRequest(
            instance_name=self._session.instance_name,
            keys=[str(ref) for ref in refs],
            digest=to_wire(root),
        )
        self._session.unary(UPDATE_REFERENCE, request, read=lambda _answer: None, where=str(refs[0]))
