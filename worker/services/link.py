"""Link: bind another key of the same element to what a ref names (AC-59)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import LinkResult
from worker.store.refs import RefRecord

if TYPE_CHECKING:
    from caskeeper.contract import LinkRequest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk
    from worker.services.naming import Naming
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
            context = context._replace(check=operation.check)
            record = self._naming.claim(operation, old)
            for root in record.roots:
                self._presence.rely(operation, root, record.scope, context)
            if new != old:
                linked = RefRecord.fresh(
                    record.roots, origin="link", scope=record.scope, kind=record.kind, labels=record.labels
                )
                self._naming.publish(operation, [new], linked)
        return LinkResult()
