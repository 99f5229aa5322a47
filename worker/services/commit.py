"""Commit: import a folder and bind refs to it (AC-58; capture is local-cas section 4)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.contract import CommitResult
from caskeeper.errors import InvalidRequest
from caskeeper.roots import below_roots, contains, is_own
from worker.store.capture import capture
from worker.store.refs import RefRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.contract import CommitRequest
    from worker.protocols import Context
    from worker.services.desk import OperationDesk
    from worker.services.naming import Naming
    from worker.store.closures import Closures
    from worker.store.companion.owner import Companion


class Commit:
    """The verb ``artifacts.commit``."""

    def __init__(
        self,
        desk: OperationDesk,
        naming: Naming,
        closures: Closures,
        *,
        roots: Sequence[str],
        companion: Companion | None = None,
    ) -> None:
        self._desk = desk
        self._naming = naming
        self._closures = closures
        self._roots = roots
        self._companion = companion

    def __call__(self, request: CommitRequest, context: Context) -> CommitResult:
        """Store the tree at ``path`` and publish every ref; none of them before everything is stored.

        Raises InvalidRequest for a path outside the roots, one in the cache's own folders or around them,
        and an entry that cannot be stored.
        """
        refs = [Ref.parse(text, where="refs") for text in request.refs]
        refs = list(dict.fromkeys(refs))
        if not refs:
            raise InvalidRequest("there is no ref to bind", "argument refs", "give at least one")
        source = below_roots(request.path, self._roots, where="DIR")
        if not os.path.isdir(source):
            raise InvalidRequest(f"{request.path[:200]!r} is not a folder", "argument DIR")
        cachedir = self._desk.volume.layout.root
        if contains(source, os.path.realpath(cachedir)) or is_own(cachedir, source):
            # It would store itself, growing while it is read.
            raise InvalidRequest(
                f"{request.path[:200]!r} holds the cache or a part of it", "argument DIR", "use another"
            )
        with self._desk.writer("commit", str(refs[0]), context) as operation:
            captured = capture(
                source,
                operation.blobs,
                context=context._replace(check=operation.check),
                companion=self._companion,
            )
            self._closures.write(operation.staging, captured.closure)
            self._naming.publish(operation, refs, RefRecord.fresh((captured.root,), origin="commit"))
            return CommitResult(
                root=str(captured.root),
                size_bytes=captured.size_bytes,
                files=captured.files,
                added_bytes=operation.staging.added_bytes,
            )
