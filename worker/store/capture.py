"""Capture: a folder becomes a tree of objects (local-cas section 4).

Promises: every object is stored, or found and made young, before the Directory that names it (I2, I4);
memory grows with the number of files, not with their sizes. Publishing a ref is somebody else's step.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.digest import EMPTY, Digest
from worker.closure import WHOLE, Closure
from worker.directory import Directory, DirectoryEntry, FileEntry, SymlinkEntry, serialise
from worker.store.companion.messages import CompanionLost
from worker.store.parallel import Crew
from worker.store.source import Listed, Source, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.companion.owner import Companion
    from worker.store.companion.session import Session


class Captured(NamedTuple):
    """``files`` and ``size_bytes`` count the regular files of the tree, equal ones as often as they stand."""

    root: Digest
    closure: Closure
    files: int
    size_bytes: int


class _Folder:
    """A folder until its Directory is stored: when ``pending`` parts and sub-folders are done."""

    __slots__ = ("depth", "directories", "files", "name", "parent", "path", "pending", "symlinks")

    def __init__(self, path: str, name: str, parent: _Folder | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 1
        self.pending = 1
        self.files: list[FileEntry] = []
        self.directories: list[DirectoryEntry] = []
        self.symlinks: list[SymlinkEntry] = []


class _Slice(NamedTuple):
    """Some files of a folder."""

    folder: _Folder
    names: list[str]


class _Large(NamedTuple):
    """One file of a folder, for which the others do not wait."""

    folder: _Folder
    name: str


_Unit = _Folder | _Slice | _Large


def capture(
    source: str, blobs: StoreBlobs, *, context: Context, companion: Companion | None = None
) -> Captured:
    """Store the folder at ``source`` and answer its root; with a ``companion`` on two cores if it is large.

    Raises what ``worker.store.source`` says.
    """
    path = os.path.abspath(source)
    if companion is not None:
        try:
            with companion.session("capture", blobs) as session:
                return _Capture(blobs, context, session).run(path)
        except CompanionLost:
            pass  # once more, alone: what is stored already is found
    return _Capture(blobs, context, None).run(path)


class _Capture:
    def __init__(self, blobs: StoreBlobs, context: Context, session: Session | None) -> None:
        self._blobs = blobs
        self._context = context
        self._crew: Crew[_Unit] = Crew(
            self._do,
            self._watch,
            is_long=lambda unit: isinstance(unit, _Large),
            aside=None if session is None else _Aside(session, self._took),
        )
        self._source = Source(blobs, check=self._crew.check)
        self._lock = threading.Lock()
        self._root = EMPTY
        self._directories: dict[Digest, None] = {}  # in the order in which they were stored
        self._contents: dict[Digest, None] = {}
        self._done_files = 0
        self._done_bytes = 0

    def run(self, source: str) -> Captured:
        self._crew.run([_Folder(source, "", None)])
        closure = Closure(self._root, WHOLE, tuple(self._directories), tuple(self._contents))
        return Captured(self._root, closure, self._done_files, self._done_bytes)

    def _watch(self) -> None:
        self._context.check()
        self._context.progress(
            Progress(phase="commit", done_bytes=self._done_bytes, done_objects=self._done_files)
        )

    def _do(self, unit: _Unit) -> Sequence[_Unit]:
        """One piece of work; the pieces that follow from it."""
        if isinstance(unit, _Folder):
            return self._took(unit, self._source.folder(unit.path, unit.depth))
        if isinstance(unit, _Slice):
            return self._took(unit.folder, self._source.files(unit.folder.path, unit.names))
        self._finish(unit.folder, [self._source.large_file(unit.folder.path, unit.name)])
        return ()

    def _took(self, folder: _Folder, found: Listed | Stored) -> Sequence[_Unit]:
        """A folder, or a part of it, was read."""
        further: list[_Unit] = []
        if isinstance(found, Listed):
            folder.symlinks = found.symlinks
            further = [_Slice(folder, names) for names in found.parts]
            further += [_Folder(f"{folder.path}/{name}", name, folder) for name in found.folders]
            found = found.stored
        further += [_Large(folder, name) for name in found.large]
        if further:
            with self._lock:
                folder.pending += len(further)
        self._finish(folder, found.files)
        return further

    def _finish(self, folder: _Folder, files: list[FileEntry]) -> None:
        """A part of a folder is done; the last part stores its Directory, and so on upwards."""
        with self._lock:
            folder.files += files
            self._contents.update(dict.fromkeys([entry.digest for entry in files]))
            self._done_files += len(files)
            self._done_bytes += sum([entry.digest.size_bytes for entry in files])
            folder.pending -= 1
            complete = not folder.pending
        while complete:
            message = Directory(tuple(folder.files), tuple(folder.directories), tuple(folder.symlinks))
            digest = self._blobs.add(serialise(message))
            with self._lock:
                self._directories.setdefault(digest)
                if folder.parent is None:
                    self._root = digest
                    return
                folder.parent.directories.append(DirectoryEntry(folder.name, digest))
                folder = folder.parent
                folder.pending -= 1
                complete = not folder.pending


class _Aside:
    """Folders and files that the companion reads and stores; it builds no Directory."""

    def __init__(self, session: Session, took: Callable[[_Folder, Listed | Stored], Sequence[_Unit]]) -> None:
        self._session = session
        self._took = took
        self._sent: deque[Sequence[_Unit]] = deque()

    def begin(self) -> bool:
        return self._session.begin()

    def send(self, units: Sequence[_Unit]) -> None:
        self._session.send(
            [
                (unit.path, unit.depth) if isinstance(unit, _Folder) else (unit.folder.path, unit.names)
                for unit in units
                if not isinstance(unit, _Large)  # there is none: they are long
            ]
        )
        self._sent.append(units)

    def receive(self, wait_s: float) -> list[_Unit] | None:
        done: list[Listed | Stored] | None = self._session.receive(wait_s)
        if done is None:
            return None
        units = self._sent.popleft()
        following = [*units[len(done) :]]
        for unit, found in zip(units, done, strict=False):
            following += self._took(unit if isinstance(unit, _Folder) else unit.folder, found)
        return following
