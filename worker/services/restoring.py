"""Bringing back single blobs by their digests: from their executable copy here, else from remotes."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import BlobMissing, CaskeeperError, ConfigInvalid, DigestMismatch, Permanent
from worker.protocols import CHUNK_BYTES
from worker.services import transfer
from worker.services.meter import Meter
from worker.services.outcomes import content_specs
from worker.services.reserving import reserve_for
from worker.services.watched import Watched
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from caskeeper.config.remotes import RemoteSpec
    from caskeeper.config.settings import Settings
    from worker.protocols import Context
    from worker.remote import RemotePool
    from worker.services.desk import OperationDesk
    from worker.services.operations import Operation

log = logging.getLogger(__name__)

#: Of a remote: it has said that it has the blob, and does not have it.
_LIES = (BlobMissing, DigestMismatch)


class Restored(NamedTuple):
    """What came of it.

    ``back`` is here, whole and young. ``unasked``: why a remote did not say whether it has the rest, so
    that to be without it is no miss yet (I10); None: all of them said.
    """

    back: set[Digest]
    unasked: CaskeeperError | None = None


class Restore:
    """A writer that publishes no name: what it brings is named already."""

    def __init__(self, desk: OperationDesk, *, settings: Settings, remotes: RemotePool) -> None:
        self.desk = desk
        self._settings = settings
        self._remotes = remotes

    def __call__(self, digests: Sequence[Digest], projects: Collection[str], context: Context) -> Restored:
        """Which of ``digests`` are here afterwards; fetched in their order (I2).

        The trouble of remotes is logged. Raises that of the own side: NoSpace, CacheTooFull, LeaseLost, …
        """
        unasked: CaskeeperError | None = None
        wanted = list(dict.fromkeys(digests))
        with self.desk.writer("heal", str(wanted[0]) if wanted else "", context) as operation:
            running = context._replace(check=operation.check)
            back = {digest for digest in wanted if self._is_back(operation, digest)}
            for spec in self._specs(projects):
                lacking = [digest for digest in wanted if digest not in back]
                if not lacking:
                    break
                trouble = self._from_remote(operation, spec, lacking, running)
                if trouble is not None and not isinstance(trouble, _LIES):
                    unasked = trouble
                back.update(digest for digest in lacking if _is_here(operation, digest))
            operation.check()
        return Restored(back, None if len(back) == len(wanted) else unasked)

    def _specs(self, projects: Collection[str]) -> tuple[RemoteSpec, ...]:
        found: dict[str, RemoteSpec] = {}
        for project in sorted(projects):
            try:
                specs = content_specs(self._settings, project)
            except ConfigInvalid:
                continue  # it has no remote
            for spec in specs:
                found.setdefault(spec.url, spec)
        self._remotes.meet(tuple(found.values()))
        return tuple(found.values())

    def _is_back(self, operation: Operation, digest: Digest) -> bool:
        if _is_here(operation, digest):
            return True
        copy = operation.staging.volume.layout.executable(digest.hash)
        if not os.path.isfile(copy) or os.path.getsize(copy) != digest.size_bytes:
            return False
        try:
            operation.blobs.write_stream(digest, _pieces(copy))
        except DigestMismatch:
            return False  # it is damaged too
        return True

    def _from_remote(
        self, operation: Operation, spec: RemoteSpec, lacking: Sequence[Digest], context: Context
    ) -> CaskeeperError | None:
        """What it fetched is here; the remote's trouble, if it had any."""
        try:
            turn = self._remotes.turn(spec, context)
            watched = Watched(self._remotes.get(spec).blobs, turn.need)
        except CaskeeperError as trouble:
            log.warning("remote failed", extra={"url": spec.url, "reason": str(trouble)})
            return trouble
        try:
            with turn:
                absent = set(transfer.find_missing(watched, lacking, context))
                offered = [digest for digest in lacking if digest not in absent]
                offered = reserve_for(operation, offered, context)  # another may bring it meanwhile
                self._copy(operation, watched, offered, context)
        except CaskeeperError as trouble:
            context.check()  # a job that is to stop ends its calls: that is no trouble of the remote's
            if not watched.caused(trouble):
                raise
            log.warning("remote failed", extra={"url": spec.url, "reason": str(trouble)})
            return trouble
        return None

    def _copy(
        self, operation: Operation, watched: Watched, offered: Sequence[Digest], context: Context
    ) -> None:
        """All in one go; where the remote lies about one of them, the others one by one."""
        meter = Meter(context, "healing")
        meter.expect(offered, offered)
        try:
            transfer.copy(watched, operation.blobs, offered, context=context, meter=meter, ordered=True)
        except Permanent as trouble:
            if not watched.caused(trouble) or len(offered) == 1:
                raise
            for digest in offered:
                if not _is_here(operation, digest):
                    self._alone(operation, watched, digest, context)

    def _alone(self, operation: Operation, watched: Watched, digest: Digest, context: Context) -> None:
        try:
            self._copy(operation, watched, [digest], context)
        except Permanent as trouble:
            if not watched.caused(trouble):
                raise
            log.warning("remote failed", extra={"hash": digest.hash, "reason": str(trouble)})


def _is_here(operation: Operation, digest: Digest) -> bool:
    """Made young where it is; False also where what stands there is not it."""
    try:
        return digest == EMPTY or operation.blobs.refresh(digest)
    except DigestMismatch:
        return False


def _pieces(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece
    except OSError as error:
        raise failure(error, path) from error
