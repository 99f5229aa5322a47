"""One set of refs behind every index (interface section 5): finding one that holds, and binding some.

A hit means that the content is here and stays for `upload-grace` (I4); what is bound is complete, or the
call is refused (I3). The indexes are translations of these two.
"""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import grpc

from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    Busy,
    CoordinatorUnavailable,
    DigestMismatch,
)
from worker import status
from worker.closure import WHOLE, Scope, walk
from worker.directory import parse
from worker.protocols import ARTIFACT, Context
from worker.server.answers import refuse, require_client
from worker.server.budget import Budget
from worker.store.blobs import MISSING, TROUBLE, StoreBlobs
from worker.store.closures import Closures
from worker.store.damage import ObjectDamaged
from worker.store.refs import RefRecord, Refs
from worker.views import OPTIONAL_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from caskeeper.artifact import Ref
    from caskeeper.digest import Digest
    from worker.closure import Closure
    from worker.directory import Directory
    from worker.server.budget import Take
    from worker.server.needs import Operation, Services
    from worker.server.rolling import Rolling
    from worker.store.objects import Objects

log = logging.getLogger(__name__)

#: So many digests are looked at between two looks at whether the client still waits.
GROUP = 4096
#: So many names one call may bind: each takes a file, and time under one reservation.
MAX_NAMES = 10_000
#: The projects of the refs that servers make for what has no name of its own: actions and URIs. There may be
#: millions, so their elements are there to keep folders small; they stand for no action.
ACTIONS, ASSETS = "action-cache", "remote-asset"
OWN_PROJECTS = frozenset({ACTIONS, ASSETS})
#: The label of a record that is not found any more from that time on, in milliseconds.
EXPIRES_MS = "expires-ms"


class Content(NamedTuple):
    """What refs are bound to. ``messages`` are those blobs of it that the server itself brings along."""

    roots: tuple[Digest, ...]
    kind: int
    messages: Mapping[Digest, bytes] = {}


class PublishedRefs:
    """Made once for a server."""

    def __init__(self, services: Services, objects: Objects, rolling: Rolling) -> None:
        self.objects = objects
        self.rolling = rolling
        self.layout = services.volume.layout
        self._services = services
        self._refs = Refs(services.volume)
        self._closures = Closures(services.volume)
        self._budget = Budget()

    # -- finding ---------------------------------------------------------------------------------------

    def find(
        self,
        ref: Ref,
        context: grpc.ServicerContext,
        *,
        kinds: Collection[int],
        not_before_ms: int = 0,
    ) -> RefRecord:
        """What ``ref`` names: one of ``kinds``, made ``not_before_ms``, complete, all of it made young.

        An Artifact may lack optional parts. Raises ArtifactNotFound otherwise; nothing is withdrawn here.
        """
        place = f"ref {ref}"
        record = self._refs.read(ref)
        if record is None:
            raise ArtifactNotFound("no such reference", place)
        if record.kind not in kinds:
            raise ArtifactNotFound("the reference names something of another kind", place)
        if not _is_served(record):
            raise ArtifactNotFound("the reference is here only in part", place)
        if record.created_ms < not_before_ms or _is_over(record):
            raise ArtifactNotFound("the reference is too old", place)
        gap = self.rolling.run(
            lambda operation: self._refresh(record, operation, context), stop=context.cancel
        )
        if gap:
            raise ArtifactNotFound(f"its content is no longer complete: {gap}", place)
        self._refs.touch(ref)
        self._used([ref])
        return record

    def _refresh(self, record: RefRecord, operation: Operation, context: grpc.ServicerContext) -> str:
        """Make everything of the record young; "" when all of it is here, else what is not."""
        blobs = StoreBlobs(operation.staging, self.objects)
        try:
            for root in record.roots:
                listing = self._closures.obtain(root, record.scope, self.objects)
                gap = _missing(blobs, listing.digests(), context)
                if gap is not None:
                    return str(gap)
        except ObjectDamaged:
            raise
        except (BlobMissing, DigestMismatch) as trouble:
            return trouble.what
        return ""

    def _used(self, refs: list[Ref]) -> None:
        """Tell the order of eviction; a hint, for which no answer fails (I6)."""
        try:
            self._services.coordination.recency.touch([str(ref) for ref in refs])
        except (Busy, CoordinatorUnavailable) as trouble:
            log.info("recency not told", extra={"error": str(trouble)})

    # -- binding ---------------------------------------------------------------------------------------

    def publish(
        self,
        verb: str,
        names: Mapping[Ref, Mapping[str, str]],
        compose: Callable[[Take], Content],
        context: grpc.ServicerContext,
    ) -> None:
        """Bind every name, each with its labels, to what ``compose`` answers: the writer of safety.md
        section 9. Ends the call with FAILED_PRECONDITION, naming the digest, when content is missing.
        Raises Busy while other calls have so much in memory that there is no room for its messages.
        """  # noqa: D205 -- one thought
        refs = list(names)
        try:
            with (
                self._services.desk.writer(verb, str(refs[0]), _quietly(context)) as operation,
                self._budget.call() as take,
            ):
                content = compose(take)
                record = self._complete(content, operation, take, context)
                self._services.volume.sync()
                staged = [
                    (ref, self._refs.stage(operation.staging, ref, record._replace(labels=labels)))
                    for ref, labels in names.items()
                ]
                operation.hold(refs, content.roots)
                self._bind(staged, record, operation)
        except BlobMissing as gap:
            what = BlobMissing(gap.what, way_out=status.UPLOAD_FIRST)
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, what)
        except ObjectDamaged as trouble:
            # Taken away in the background; then it is missing, and the client is told to upload it.
            raise Busy(trouble.what, str(trouble.digest)) from trouble
        except DigestMismatch as trouble:
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, trouble)

    def _bind(self, staged: Sequence[tuple[Ref, str]], record: RefRecord, operation: Operation) -> None:
        replaced: dict[str, str] = {}
        try:
            for ref, path in staged:
                was = self._refs.publish(operation.staging, path, ref)
                replaced[str(ref)] = "" if was is None else was.roots_text
        finally:  # also those before a failure
            events = self._services.coordination.events
            events.bound(replaced, root=record.roots_text, by=operation.staging.id, why="server")

    def _complete(
        self, content: Content, operation: Operation, take: Take, context: grpc.ServicerContext
    ) -> RefRecord:
        """Rely on all of the content, store what the server brings, write the closure lists."""
        blobs = StoreBlobs(operation.staging, self.objects)

        def read(digest: Digest) -> Directory:
            data = content.messages.get(digest)
            take(digest.size_bytes)
            return self.objects.directory(digest) if data is None else parse(data, digest)

        def require(root: Digest, scope: Scope) -> Closure:
            closure = walk(root, scope, read)
            others = (digest for digest in closure.digests if digest not in content.messages)
            gap = _missing(blobs, others, context)
            if gap is not None:
                raise BlobMissing(str(gap))
            return closure

        scope = WHOLE
        if content.kind == ARTIFACT:
            scope = Scope.of(_lost_parts(read(content.roots[0]), require))
        for root in content.roots:
            closure = require(root, scope)
            # Children first (I2): only now that everything below them is here and young.
            brought = [digest for digest in closure.digests if digest in content.messages]
            blobs.write_batch([(digest, content.messages[digest]) for digest in brought])
            self._closures.write(operation.staging, closure)
        return RefRecord.fresh(content.roots, origin="server", kind=content.kind, scope=scope)


def _lost_parts(root: Directory, require: Callable[[Digest, Scope], object]) -> Iterator[str]:
    """The optional parts of an Artifact that were not uploaded: BuildStream pushes what it has of them."""
    for name, part in root.directories:
        if name in OPTIONAL_PARTS:
            try:
                require(part, WHOLE)
            except ObjectDamaged:
                raise
            except (BlobMissing, DigestMismatch):
                yield name


def _is_served(record: RefRecord) -> bool:
    """A ref that is here only in part (I2) would be taken for complete; an Artifact's readers look."""
    return record.scope.whole or (
        record.kind == ARTIFACT and OPTIONAL_PARTS.issuperset(record.scope.excluded)
    )


def _is_over(record: RefRecord) -> bool:
    expires_ms = record.labels.get(EXPIRES_MS)
    return expires_ms is not None and int(expires_ms) <= time.time_ns() // 1_000_000


def _quietly(context: grpc.ServicerContext) -> Context:
    return Context(progress=lambda _progress: None, check=lambda: require_client(context))


def _missing(blobs: StoreBlobs, digests: Iterable[Digest], context: grpc.ServicerContext) -> Digest | None:
    """The first digest that is not here; None when all are, and are young now."""
    rest = iter(digests)
    while group := list(islice(rest, GROUP)):
        require_client(context)
        for digest, state in zip(group, blobs.states(group), strict=True):
            if state == MISSING or (state == TROUBLE and not blobs.refresh(digest)):
                return digest
    return None
