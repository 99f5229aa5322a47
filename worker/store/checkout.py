"""Checkout: a tree of objects becomes a folder, by links or as a private copy (local-cas section 6).

Here is what both kinds share, the way through the tree; the kinds are ``checkout_links`` and
``checkout_copy``, and whoever checks out calls the one it wants. The scope decides what is extracted: what
was left out is omitted, and anything else that is missing is BlobMissing, never a hole (AC-57). Names come
from parsed Directory messages, so none leads out of the folder.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.errors import InvalidRequest
from worker.closure import Part, Scope, descend, part_of
from worker.directory import Directory
from worker.store.parallel import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.digest import Digest
    from worker.directory import FileEntry
    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.companion.owner import Companion
    from worker.store.companion.session import Session


class Folder(NamedTuple):
    """A folder that was made and is to be filled; ``path`` is below the checkout's own."""

    path: str
    digest: Digest
    part: Part


class Large(NamedTuple):
    """A file that takes long."""

    path: str
    entry: FileEntry


class Filled(NamedTuple):
    """A folder that was filled: what follows, how many files it has by now, and their bytes."""

    following: list[Folder | Large]
    files: int
    size_bytes: int


class Checkout(ABC):
    """What both kinds share: the way through the tree."""

    #: a name that the top folder may not have
    refused = ""

    #: what a companion knows it by
    work = ""

    def __init__(self, blobs: StoreBlobs, context: Context) -> None:
        self.blobs = blobs
        self.objects = blobs.objects
        self._context = context
        #: asked by long copies whether to stop
        self.crew: Crew[Folder | Large] = self._new_crew(None)
        #: held by whoever counts: large files are made in several threads
        self.lock = threading.Lock()
        self._done_files = 0
        self._done_bytes = 0

    def start(self, root: Digest, scope: Scope, subdir: str | None) -> Folder:
        """The folder of the tree that becomes the checkout."""
        part = part_of(scope, subdir)
        top = descend(root, subdir, self.objects.directory) if subdir else root
        if any(entry.name == self.refused for kind in self.objects.directory(top) for entry in kind):
            raise InvalidRequest(
                f"the artifact holds {self.refused!r}, which a private copy cannot", "", "extract it shared"
            )
        return Folder("", top, part)

    def run(self, start: Folder, companion: Companion | None = None, **particulars: object) -> None:
        """Fill it and everything below; ``particulars``: what a companion that helps has to know.

        CompanionLost: it was killed, and what it was filling is filled in part.
        """
        if companion is None:
            self.crew.run([start])
            return
        with companion.session(self.work, self.blobs, **particulars) as session:
            self.crew = self._new_crew(_Aside(session, self._add))
            self.crew.run([start])

    def fill(self, folder: Folder) -> Filled:
        """One folder, for an owner elsewhere."""
        files, size_bytes = self._done_files, self._done_bytes
        following = self._do(folder)
        return Filled(following, self._done_files - files, self._done_bytes - size_bytes)

    def _new_crew(self, aside: _Aside | None) -> Crew[Folder | Large]:
        return Crew(self._do, self._watch, is_long=lambda unit: isinstance(unit, Large), aside=aside)

    def _watch(self) -> None:
        self._context.check()
        self._context.progress(
            Progress(phase="extract", done_bytes=self._done_bytes, done_objects=self._done_files)
        )

    def _do(self, unit: Folder | Large) -> list[Folder | Large]:
        if isinstance(unit, Large):
            self.copy_large(unit)
            self._count((unit.entry,), ())
            return []
        directory = self.objects.directory(unit.digest)
        folders = [
            Folder(f"{unit.path}/{name}", digest, below)
            for name, digest in directory.directories
            if (below := unit.part.below(name)) is not None
        ]
        if not unit.part.others:  # only a folder on the way to what is wanted
            directory = Directory()
        large = self.make_entries(unit.path, directory, folders)
        self._count(directory.files, large)
        return [*folders, *(Large(unit.path, entry) for entry in large)]

    def _count(self, files: Sequence[FileEntry], left: Sequence[FileEntry]) -> None:
        """``files`` are done, but for those of them that were ``left`` for later."""
        size_bytes = sum([entry.digest.size_bytes for entry in files])
        size_bytes -= sum([entry.digest.size_bytes for entry in left])
        self._add(len(files) - len(left), size_bytes)

    def _add(self, files: int, size_bytes: int) -> None:
        with self.lock:
            self._done_files += files
            self._done_bytes += size_bytes

    @abstractmethod
    def make_entries(self, path: str, directory: Directory, folders: list[Folder]) -> list[FileEntry]:
        """Make files, links and empty folders at ``path``; the files that were left for later."""

    @abstractmethod
    def copy_large(self, unit: Large) -> None:
        """Make a file that was left for later."""


class _Aside:
    """Folders that the companion fills; large files stay here."""

    def __init__(self, session: Session, add: Callable[[int, int], None]) -> None:
        self._session = session
        self._add = add
        self._sent: deque[Sequence[Folder | Large]] = deque()

    def begin(self) -> bool:
        return self._session.begin()

    def send(self, units: Sequence[Folder | Large]) -> None:
        self._session.send(units)
        self._sent.append(units)

    def receive(self, wait_s: float) -> list[Folder | Large] | None:
        done: list[Filled] | None = self._session.receive(wait_s)
        if done is None:
            return None
        following = [*self._sent.popleft()[len(done) :]]
        for filled in done:
            self._add(filled.files, filled.size_bytes)
            following += filled.following
        return following
