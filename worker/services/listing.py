"""Looking: what is here, what one ref names, whether it is present (AC-47 to AC-49, D-4, D-20).

Nothing here is touched, and nothing promises that it stays: that is what sessions are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from caskeeper.contract import Message
from caskeeper.errors import (
    ArtifactNotFound,
    BlobMissing,
    CoordinatorUnavailable,
    DigestMismatch,
    InvalidRequest,
)
from caskeeper.presence import has_subdir, is_here
from worker._protos import ref_record_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.artifact import Ref
    from caskeeper.coordination import Coordination
    from caskeeper.digest import Digest
    from worker.services.presence import Presence
    from worker.store.pins import Pins
    from worker.store.refs import OddRefs, RefEntry, RefRecord, Refs

SORTS = ("lru", "name", "size")
#: What makes an artifact unusable, and none of the others.
_DAMAGE = (BlobMissing, DigestMismatch, InvalidRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRef(Message):
    """One line of a listing. ``size_bytes`` is the content's; None = not asked for, or not known.

    ``damaged``: its record cannot be read; with sizes also: what it consists of cannot be told. Whether all
    the content is here is what ``show`` looks at.
    """

    ref: str
    root: str
    used_ms: int
    created_ms: int = 0
    size_bytes: int | None = None
    excluded: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownRef(Message):
    """Everything known of one ref. ``protected_by`` is empty when an eviction may take it now.

    ``complete`` is False when a part of what it names is gone or damaged; ``size_bytes`` and ``objects`` are
    then None. ``origin``: commit, link, server, or the url it was pulled from.
    """

    ref: str
    kind: str
    roots: tuple[str, ...]
    excluded: tuple[str, ...]
    included: tuple[str, ...]
    complete: bool
    size_bytes: int | None
    objects: int | None
    created_ms: int
    used_ms: int
    origin: str
    labels: dict[str, str] = field(default_factory=dict)
    protected_by: tuple[str, ...] = ()


class Listing:
    """``list``, ``show`` and ``contains``. Without Redis the ages of the files stand in for recency (I6)."""

    def __init__(self, refs: Refs, presence: Presence, coordination: Coordination, pins: Pins) -> None:
        self._refs = refs
        self._presence = presence
        self._coordination = coordination
        self._pins = pins

    def list(
        self,
        pattern: str = "*",
        *,
        sort: str = "lru",
        sizes: bool = False,
        strangers: list[str] | None = None,
    ) -> list[ListedRef]:
        """The refs that match ``pattern`` (``*`` also matches ``/``): least recently used first, by name,
        or largest first; ties by name. A damaged record is listed as such. What is no ref goes into
        ``strangers``, as a path.
        """  # noqa: D205 -- one sentence for each
        if sort not in SORTS:
            raise InvalidRequest(f"cannot sort by {sort!r}", "argument sort", f"use {', '.join(SORTS)}")
        met: list[str] = [] if strangers is None else strangers
        entries = list(self._refs.listing(strangers=met, wanted=lambda ref: fnmatchcase(str(ref), pattern)))
        used = self._last_used(entries)
        entries.sort(key=lambda entry: str(entry.ref))
        if sort == "lru":
            entries.sort(key=lambda entry: used[entry.ref])
        sized = sizes or sort == "size"
        listed = [self._line(entry, used[entry.ref], sized=sized) for entry in entries]
        if sort == "size":
            listed.sort(key=lambda line: -(line.size_bytes or 0))
        return listed

    def _line(self, entry: RefEntry, used: tuple[int, int], *, sized: bool) -> ListedRef:
        record = entry.record
        size_bytes = self._size(record) if sized else None
        return ListedRef(
            ref=str(entry.ref),
            root=str(record.root) if record else "",
            used_ms=_in_ms(used),
            created_ms=record.created_ms if record else 0,
            size_bytes=size_bytes,
            excluded=record.scope.excluded if record else (),
            damaged=record is None or (sized and size_bytes is None),
        )

    def odd(self) -> OddRefs:
        """What among the refs is none or cannot be read; raises VolumeFailed, PermissionDenied."""
        return self._refs.odd()

    def strangers(self) -> tuple[str, ...]:
        """The paths of what among the refs is none; raises VolumeFailed, PermissionDenied."""
        return self._refs.strangers()

    def show(self, ref: Ref) -> ShownRef:
        """Raises ArtifactNotFound."""
        record = self._find(ref)
        entry = self._refs.entry(ref)
        used = (0, 0) if entry is None else self._last_used([entry])[ref]
        digests, complete = self._content(record)
        try:
            self._presence.require(list(digests))
        except _DAMAGE:
            complete = False
        return ShownRef(
            ref=str(ref),
            kind=ref_record_pb2.Kind.Name(record.kind).lower(),
            roots=tuple(str(root) for root in record.roots),
            excluded=record.scope.excluded,
            included=record.scope.included,
            complete=complete,
            size_bytes=sum(digest.size_bytes for digest in digests) if complete else None,
            objects=len(digests) if complete else None,
            created_ms=record.created_ms,
            used_ms=_in_ms(used),
            origin=record.origin,
            labels=dict(record.labels),
            protected_by=self._protectors(ref, record),
        )

    def contains(self, ref: Ref, subdir: str | None = None) -> bool:
        """As the client looks (``caskeeper.presence``): the ref (AC-47), or all of a folder of it (AC-48)."""
        layout = self._refs.volume.layout
        return is_here(layout, ref) if subdir is None else has_subdir(layout, ref, subdir)

    def _find(self, ref: Ref) -> RefRecord:
        record = self._refs.read(ref)
        if record is None:
            raise ArtifactNotFound("there is no such ref", f"ref {ref}")
        return record

    def _size(self, record: RefRecord | None) -> int | None:
        if record is None:
            return None
        digests, known = self._content(record)
        return sum(digest.size_bytes for digest in digests) if known else None

    def _content(self, record: RefRecord) -> tuple[set[Digest], bool]:
        """All digests of what a record names; False when a Directory is gone or damaged: then not all are."""
        digests: set[Digest] = set()
        try:
            for root in record.roots:
                digests.update(self._presence.closure(root, record.scope).digests)
        except _DAMAGE:
            return digests, False
        return digests, True

    def _last_used(self, entries: Sequence[RefEntry]) -> dict[Ref, tuple[int, int]]:
        """As a cleanup orders them: (1, ms) by Redis' clock is later than (0, ns) by the volume's."""
        scores: Sequence[int | None]
        try:
            scores = self._coordination.recency.scores([str(entry.ref) for entry in entries])
        except CoordinatorUnavailable:
            scores = [None] * len(entries)
        return {
            entry.ref: (0, entry.age_ns) if score is None else (1, score)
            for entry, score in zip(entries, scores, strict=True)
        }

    def _protectors(self, ref: Ref, record: RefRecord) -> tuple[str, ...]:
        """Who keeps it, everybody: pins by its name, sessions by its key, operations by their claims."""
        from worker.services.keepers import find_keepers, in_words  # noqa: PLC0415 -- a list does without

        keepers, remarks = find_keepers(ref, record, pins=self._pins, coordination=self._coordination)
        return (*(in_words(keeper) for keeper in keepers), *remarks)


def _in_ms(used: tuple[int, int]) -> int:
    by_redis, when = used
    return when if by_redis else when // 1_000_000
