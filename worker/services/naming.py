"""Publishing refs as the last step of a writer, and resolving them as the first of a reader."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from caskeeper.coordination.events import HEALED, origin
from caskeeper.errors import ArtifactNotFound, Busy, CaskeeperError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from caskeeper.coordination import Coordination
    from worker.services.operations import Operation
    from worker.store.refs import RefRecord, Refs

log = logging.getLogger(__name__)

#: How often a name that changes under a reader is looked at again.
ATTEMPTS = 8


class Naming:
    """Refs on the volume together with what Redis knows of them."""

    def __init__(self, refs: Refs, coordination: Coordination) -> None:
        self.refs = refs
        self._coordination = coordination

    def find(self, ref: Ref) -> RefRecord:
        """What ``ref`` names, of whatever kind: each has a tree below its root. Raises ArtifactNotFound."""
        record = self.refs.read(ref)
        if record is None:
            raise ArtifactNotFound("there is no such ref", f"ref {ref}")
        return record

    def claim(self, operation: Operation, ref: Ref) -> RefRecord:
        """Resolve, claim the root, resolve again (safety.md section 3): it stays until the operation ends.

        Raises ArtifactNotFound, also for what is just being removed; Busy when the name never rests.
        """
        for _attempt in range(ATTEMPTS):
            record = self.find(ref)
            if not operation.claim(record.roots):
                raise ArtifactNotFound("it is being removed", f"ref {ref}")
            again = self.refs.read(ref)
            if again is not None and again.roots == record.roots:
                return again
        raise Busy("it is bound to something else again and again", f"ref {ref}")

    def publish(self, operation: Operation, refs: Sequence[Ref], record: RefRecord) -> None:
        """The commit point (I3): flush, hold every name, publish each. The content is complete already.

        Raises LeaseLost, Busy while a name stays condemned. Names published before a failure stay.
        """
        operation.check()
        operation.staging.volume.sync()
        staged = [(ref, self.refs.stage(operation.staging, ref, record)) for ref in refs]
        operation.hold(refs, record.roots)
        replaced: dict[str, str] = {}
        try:
            for ref, path in staged:
                was = self.refs.publish(operation.staging, path, ref)
                replaced[str(ref)] = "" if was is None else was.roots_text
        finally:  # also those before a failure
            self._coordination.events.bound(
                replaced, root=record.roots_text, by=operation.id, why=origin(record.origin)
            )

    def healed(self, ref: Ref, why: str, *, by: str) -> None:
        """A part of it was not here, and is again."""
        self._coordination.events.note(HEALED, [str(ref)], why=why, by=by)

    def used(self, refs: Sequence[Ref], *, touch: bool = False) -> None:
        """These were used now (D-29). Recency is a hint (I6): without Redis the ages of the files decide."""
        if touch:
            for ref in refs:
                self.refs.touch(ref)
        try:
            self._coordination.recency.touch([str(ref) for ref in refs])
        except CaskeeperError as trouble:
            log.warning("recency not noted", extra={"ref": str(refs[0]), "reason": str(trouble)})
