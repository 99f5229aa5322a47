"""Link: bind another key of the same element to what a ref names (AC-59)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import LinkResult
from caskeeper.errors import BlobMissing
from worker.services import transfer
from worker.services.naming import record_of

if TYPE_CHECKING:
    from caskeeper.contract import LinkRequest
    from worker.protocols import Context
    from worker.services.naming import Naming
    from worker.services.operations import Operation, OperationDesk
    from worker.store.refs import RefRecord
    from worker.services.presence import Presence


class Link:
    """The verb ``artifacts.link``: a writer that may not write content (safety.md section 3)."""

    def __init__(self, desk: OperationDesk, naming: Naming, presence: Presence) -> None:
        self._desk = desk
        self._naming = naming
        self._presence = presence

    def __call__(self, request: LinkRequest, context: Context) -> LinkResult:
        """Create or replace the ref of ``key``; the old ref is not touched.

        Raises ArtifactNotFound, BlobMissing when a part of the tree is gone.
        """
        old = Ref.parse(request.ref, where="ref")
        new = Ref.of(old.project, old.element, request.key, where="key")
        with self._desk.writer("link", str(old), context) as operation:
            record = self._naming.claim(operation, old)
            for root in record.roots:
                if missing := self._presence.refresh(operation, root, record.scope):
                    raise BlobMissing(str(missing[0]), f"ref {old}")
            if new != old:
                self._naming.publish(
                    operation,
                    [new],
                    record_of(record.root, scope=record.scope, origin="link", labels=record.labels),
                )
        return LinkResult()
