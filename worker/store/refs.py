"""Ref records: the names of artifacts, one small file each (safety.md section 2, local-cas section 5).

Promises: a ref appears or changes by one rename (I3), a vanishing entry is no trouble (D-4), and a file
that cannot be read as a ref is never passed over (I9). When to publish, and what must be complete and
held before, is the operation's business.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, NamedTuple, cast

from google.protobuf.message import DecodeError

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    BlobMissing,
    CaskeeperError,
    DigestMismatch,
    InvalidRequest,
    PermissionDenied,
    VolumeFailed,
)
from worker._protos import ref_record_pb2 as pb
from worker.closure import WHOLE, Scope
from worker.store.failures import failure
from worker.store.format import without_age
from worker.store.objects import Objects
from worker.store.whole import refuse_out_of_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from worker.store.staging import Staging
    from worker.store.volume import Volume

#: What opening or reading answers for what is no file: a link, a folder, a socket.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})
#: Far more than a record needs; a larger file is none.
MAX_RECORD_BYTES = 1024 * 1024


class RefRecord(NamedTuple):
    """What a ref names. A ref of BuildStream 1.x reads as kind 0, serial 0, without a name.

    ``name`` is the ref that the record was written for, as text; empty in one that was never written.
    """

    roots: tuple[Digest, ...]
    kind: int = 0
    scope: Scope = WHOLE
    serial: int = 0
    created_ms: int = 0
    labels: Mapping[str, str] = {}
    origin: str = ""
    name: str = ""

    @property
    def root(self) -> Digest:
        """The leading root."""
        return self.roots[0]

    @property
    def roots_text(self) -> str:
        """All roots on one line, as the event log has them."""
        return " ".join(map(str, self.roots))

    @classmethod
    def fresh(
        cls,
        roots: tuple[Digest, ...],
        *,
        origin: str,
        scope: Scope = WHOLE,
        kind: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> RefRecord:
        """A new record with a serial of its own, made now. ``origin``: commit, link, server, or a url."""
        created_ms = time.time_ns() // 1_000_000
        return cls(roots, kind, scope, secrets.randbits(63) + 1, created_ms, dict(labels or {}), origin)


class OddRefs(NamedTuple):
    """What among the refs keeps everything from being deleted (I9)."""

    strangers: tuple[str, ...]  # paths
    unreadable: tuple[Ref, ...]


class RefEntry(NamedTuple):
    """One ref in a listing. ``record`` is None when the file is damaged; ``age_ns`` is its atime."""

    ref: Ref
    record: RefRecord | None
    age_ns: int
    size_bytes: int


def encode(ref: Ref, record: RefRecord) -> bytes:
    """The bytes of the file. They begin with the root's Digest message, and read as one."""
    message = pb.RefRecord(
        hash=record.root.hash,
        size_bytes=record.root.size_bytes,
        kind=cast("pb.Kind", record.kind),
        serial=record.serial,
        created_ms=record.created_ms,
        labels=record.labels,
        origin=record.origin,
        name=str(ref),
    )
    for root in record.roots[1:]:
        message.further_roots.add(hash=root.hash, size_bytes=root.size_bytes)
    if not record.scope.whole:
        message.scope.excluded.extend(record.scope.excluded)
        message.scope.included.extend(record.scope.included)
    return message.SerializeToString(deterministic=True)


def decode(data: bytes) -> RefRecord | None:
    """The record in ``data``, or None when it is damaged."""
    try:
        message = pb.RefRecord.FromString(data)
        scope = WHOLE  # as most are
        if message.HasField("scope"):
            scope = Scope.of(message.scope.excluded, message.scope.included)
        return RefRecord(
            roots=(
                Digest.checked(message.hash, message.size_bytes),
                *(Digest.checked(root.hash, root.size_bytes) for root in message.further_roots),
            ),
            kind=message.kind,
            scope=scope,
            serial=message.serial,
            created_ms=message.created_ms,
            labels=dict(message.labels),
            origin=message.origin,
            name=message.name,
        )
    except (DecodeError, InvalidRequest):
        return None


class Refs:
    """The refs of one volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._layout = volume.layout
        self._objects = Objects(volume)

    def read(self, ref: Ref) -> RefRecord | None:
        """What the ref names; None = there is no such ref. VolumeFailed when its file is damaged.

        And when a folder above it is a link, or the folder of refs is not there (I10).
        """
        path = self._layout.ref(ref)
        found = _look(path)
        if found is None:
            refuse_out_of_reach(self._layout, path)
            return None
        record = self._scoped(decode(found[0]))
        if record is None:
            raise _damaged(path)
        return record

    def record_at(self, path: str) -> RefRecord | None:
        """The record in a file, wherever it lies; None = gone or damaged."""
        found = _look(path)
        return None if found is None else self._scoped(decode(found[0]))

    def _scoped(self, record: RefRecord | None) -> RefRecord | None:
        """Our records say their scope. A ref of BuildStream 1.x does not, and its partial artifacts, the
        default there, lack the Directory of a top-level folder (AC-57).
        """  # noqa: D205 -- why it is there is one thought
        if record is None or record.serial or record.kind:
            return record
        try:
            folders = self._objects.directory(record.root).directories
        except (BlobMissing, DigestMismatch, InvalidRequest):
            return record  # whoever walks it meets the same and says so
        here = [entry for entry in folders if entry.digest != EMPTY]
        missing = [entry.name for entry in here if self._objects.stat(entry.digest.hash) is None]
        return record._replace(scope=Scope.of(missing))

    def stage(self, staging: Staging, ref: Ref, record: RefRecord) -> str:
        """Write the record into the operation's folder; its path."""
        return staging.stage(encode(ref, record))

    def publish(self, staging: Staging, staged: str, ref: Ref) -> RefRecord | None:
        """Bind the ref by one rename, replacing what it named (the commit point, I3).

        Answers what was replaced, for the event log; None = nothing, or nothing readable. The operation
        holds the ref: no cleanup takes it away between the look at what is replaced and the rename, so a
        replaced file's place counts once. LeaseLost when the operation was fenced.
        """
        path = self._layout.ref(ref)
        charged = self.volume.charge(_size(staged))
        if os.path.isdir(path) and not os.path.islink(path):
            raise _damaged(path)
        replaced = self.volume.charge(_size(path))
        was = _decoded(path)
        self.volume.replace(staged, path)
        staging.add(max(0, charged - replaced))
        if replaced:
            staging.refund(min(charged, replaced))
        return was

    def listing(
        self, *, strangers: list[str] | None = None, wanted: Callable[[Ref], bool] = lambda _ref: True
    ) -> Iterator[RefEntry]:
        """Every ref that is ``wanted``, in no particular order; of others no record is read.

        VolumeFailed for a folder that cannot be listed and for anything that is no ref (I9). Whoever only
        looks gives ``strangers``: there go the paths of what is no ref, and the listing goes on.
        """
        for ref, path in self._named(strangers):
            if not wanted(ref):
                continue
            entry = self._entry(ref, path)
            if entry is not None:
                yield entry

    def entry(self, ref: Ref) -> RefEntry | None:
        """One line of the listing; None: it is gone."""
        return self._entry(ref, self._layout.ref(ref))

    def _entry(self, ref: Ref, path: str) -> RefEntry | None:
        found = _look(path)
        if found is None:
            return None
        data, status = found
        return RefEntry(ref, self._scoped(decode(data)), status.st_atime_ns, status.st_size)

    def strangers(self) -> tuple[str, ...]:
        """The paths of all that is no ref. Reads no record. Raises VolumeFailed, PermissionDenied."""
        found: list[str] = []
        for _ref in self._named(found):
            pass
        return tuple(found)

    def odd(self) -> OddRefs:
        """A look at every record, at nothing behind it. Raises VolumeFailed, PermissionDenied."""
        strangers: list[str] = []
        unreadable: list[Ref] = []
        for ref, path in self._named(strangers):
            try:
                found = _look(path)
            except (VolumeFailed, PermissionDenied):
                unreadable.append(ref)
                continue
            if found is not None and decode(found[0]) is None:
                unreadable.append(ref)
        return OddRefs(tuple(strangers), tuple(unreadable))

    def _named(self, strangers: list[str] | None) -> Iterator[tuple[Ref, str]]:
        """Each name that a ref can have, and its path."""

        def meet(path: str) -> None:
            if strangers is None:
                raise _stranger(path)
            strangers.append(path)

        for project in _entries(self._layout.refs):
            if not project.is_dir(follow_symlinks=False):
                meet(project.path)
                continue
            for element in _entries(project.path):
                if not element.is_dir(follow_symlinks=False):
                    meet(element.path)
                    continue
                for key in _entries(element.path):
                    try:
                        ref = Ref.of(project.name, f"{element.name}.bst", key.name)
                    except InvalidRequest:
                        ref = None
                    if ref is None or ref.element != element.name:
                        meet(key.path)
                    else:
                        yield ref, key.path

    def touch(self, ref: Ref) -> bool:
        """Make the ref young. False: it is gone."""
        return self.volume.touch(self._layout.ref(ref))

    def prune_parents(self, ref: Ref) -> None:
        """Remove the element's and the project's folder if they are empty now (D-32)."""
        element = os.path.dirname(self._layout.ref(ref))
        for folder in (element, os.path.dirname(element)):
            if not self.volume.remove_folder(folder) and os.path.lexists(folder):
                return


def _look(path: str) -> tuple[bytes, os.stat_result] | None:
    """Content and status of one file; None = gone."""
    try:
        # Looking is no use. A named pipe in its place shall not keep us waiting for a writer.
        fd = without_age(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.read(fd, MAX_RECORD_BYTES), os.fstat(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return _no_file(path)
        raise failure(error, path) from error


def _no_file(path: str) -> tuple[bytes, os.stat_result] | None:
    """A folder or a link where a ref should be reads as a damaged one: `remove` takes it away."""
    try:
        return b"", os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error


def _decoded(path: str) -> RefRecord | None:
    """What a file names at this moment, as far as that can be told."""
    try:
        found = _look(path)
    except CaskeeperError:
        return None  # it is about to be replaced
    return None if found is None else decode(found[0])


def _size(path: str) -> int:
    """The size of a file, 0 when it is gone or none."""
    try:
        status = os.lstat(path)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise failure(error, path) from error


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except FileNotFoundError:
        if folder.endswith("/cas/refs/heads"):
            raise VolumeFailed(
                "there is no folder of refs", folder, "check that the volume is mounted"
            ) from None
        return []  # pruned since it was listed
    except OSError as error:
        raise failure(error, folder) from error


def _damaged(path: str) -> VolumeFailed:
    return VolumeFailed("a ref is damaged", path, "`caskeeper verify --repair` fetches it anew, or drops it")


def _stranger(path: str) -> VolumeFailed:
    return VolumeFailed(
        "this is no ref",
        path,
        "trying again does not help, and nothing is deleted while it is there: `caskeeper verify` names all "
        "that is no ref, move it out of the cache",
    )
