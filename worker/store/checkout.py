"""Checkout: a tree of objects becomes a folder, by links or as a private copy (local-cas section 6).

The scope decides what is extracted: what was left out is omitted, and anything else that is missing is
BlobMissing, never a hole (AC-57). Names come from parsed Directory messages, so none leads out of the
folder; a private copy is also safe from somebody who puts links into it meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.contract import Progress
from caskeeper.digest import EMPTY
from caskeeper.errors import DestinationExists, InvalidRequest, VolumeFailed
from worker.closure import WHOLE, Part, Scope, descend, part_of
from worker.directory import Directory
from worker.protocols import quiet
from worker.store.companion.messages import CompanionLost
from worker.store.comparison import is_copy
from worker.store.damage import missing, wrong_size
from worker.store.destination import MARK, Destination
from worker.store.failures import failure
from worker.store.parallel import SMALL_BYTES, Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.digest import Digest
    from worker.directory import FileEntry
    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.companion.owner import Companion
    from worker.store.companion.session import Session

#: What the kernel is asked to copy at once.
COPY_BYTES = 8 * 1024 * 1024
_NO_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class _Folder(NamedTuple):
    """A folder that was made and is to be filled; ``path`` is below the checkout's own."""

    path: str
    digest: Digest
    part: Part


class _Large(NamedTuple):
    """A file that takes long."""

    path: str
    entry: FileEntry


class _Filled(NamedTuple):
    """A folder that was filled: what follows, how many files it has by now, and their bytes."""

    following: list[_Folder | _Large]
    files: int
    size_bytes: int


def checkout_links(
    root: Digest,
    target: str,
    *,
    blobs: StoreBlobs,
    context: Context,
    scope: Scope = WHOLE,
    subdir: str | None = None,
    companion: Companion | None = None,
) -> int:
    """Make ``target``, a new folder in the operation's own, out of links to objects (0444 and 0555).

    With ``subdir`` it becomes that sub-tree of ``root``. Answers the charged bytes of what had to be
    copied where no link was possible: they are spent, and the caller adds them when the folder has
    reached its place. BlobMissing, PartialArtifact, LeaseLost, and what spending raises.
    """
    links = _Links(blobs, context, target)
    start = links.start(root, scope, subdir)
    links.make()
    try:
        links.run(start, companion, target=target)
    except CompanionLost:
        blobs.staging.clear(target)
        links = _Links(blobs, context, target)
        links.run(start)
    return links.copied_bytes


def checkout_copy(
    root: Digest,
    destination: str,
    *,
    blobs: StoreBlobs,
    context: Context,
    scope: Scope = WHOLE,
    subdir: str | None = None,
    companion: Companion | None = None,
) -> None:
    """Make ``destination`` a private copy: 0666 and 0777 less the umask, independent of the store.

    ``destination`` is absolute, does not exist, is an empty folder or that very copy already, else
    DestinationExists. After a failure it is as it was before; after a crash the next attempt begins anew,
    or finds the work done. BlobMissing, PartialArtifact, NoSpace, PermissionDenied.
    """
    try:
        with Destination(destination) as place:
            copy = _Copy(blobs, context, place)
            start = copy.start(root, scope, subdir)
            try:
                copy.run(start, companion, destination=place.path, identity=place.identity())
            except CompanionLost:
                place.clear()
                _Copy(blobs, context, place).run(start)
    except DestinationExists:
        if not is_copy(root, destination, objects=blobs.objects, context=context, scope=scope, subdir=subdir):
            raise


def links_aside(blobs: StoreBlobs, check: Callable[[], None], *, target: str) -> Callable[[_Folder], _Filled]:
    """What a companion does for ``checkout_links``."""
    return _Links(blobs, quiet()._replace(check=check), target).fill


def copy_aside(
    blobs: StoreBlobs, check: Callable[[], None], *, destination: str, identity: bytes
) -> Callable[[_Folder], _Filled]:
    """What a companion does for ``checkout_copy``."""
    place = Destination.joined(destination, identity)
    return _Copy(blobs, quiet()._replace(check=check), place).fill


class _Checkout(ABC):
    """What both kinds share: the way through the tree."""

    #: a name that the top folder may not have
    refused = ""

    #: what a companion knows it by
    work = ""

    def __init__(self, blobs: StoreBlobs, context: Context) -> None:
        self._blobs = blobs
        self._objects = blobs.objects
        self._context = context
        self._crew: Crew[_Folder | _Large] = self._new_crew(None)
        self._lock = threading.Lock()
        self._done_files = 0
        self._done_bytes = 0

    def start(self, root: Digest, scope: Scope, subdir: str | None) -> _Folder:
        """The folder of the tree that becomes the checkout."""
        part = part_of(scope, subdir)
        top = descend(root, subdir, self._objects.directory) if subdir else root
        if any(entry.name == self.refused for kind in self._objects.directory(top) for entry in kind):
            raise InvalidRequest(
                f"the artifact holds {self.refused!r}, which a private copy cannot", "", "extract it shared"
            )
        return _Folder("", top, part)

    def run(self, start: _Folder, companion: Companion | None = None, **particulars: object) -> None:
        """Fill it and everything below; ``particulars``: what a companion that helps has to know.

        CompanionLost: it was killed, and what it was filling is filled in part.
        """
        if companion is None:
            self._crew.run([start])
            return
        with companion.session(self.work, self._blobs, **particulars) as session:
            self._crew = self._new_crew(_Aside(session, self._add))
            self._crew.run([start])

    def fill(self, folder: _Folder) -> _Filled:
        """One folder, for an owner elsewhere."""
        files, size_bytes = self._done_files, self._done_bytes
        following = self._do(folder)
        return _Filled(following, self._done_files - files, self._done_bytes - size_bytes)

    def _new_crew(self, aside: _Aside | None) -> Crew[_Folder | _Large]:
        return Crew(self._do, self._watch, is_long=lambda unit: isinstance(unit, _Large), aside=aside)

    def _watch(self) -> None:
        self._context.check()
        self._context.progress(
            Progress(phase="extract", done_bytes=self._done_bytes, done_objects=self._done_files)
        )

    def _do(self, unit: _Folder | _Large) -> list[_Folder | _Large]:
        if isinstance(unit, _Large):
            self._copy_large(unit)
            self._count((unit.entry,), ())
            return []
        directory = self._objects.directory(unit.digest)
        folders = [
            _Folder(f"{unit.path}/{name}", digest, below)
            for name, digest in directory.directories
            if (below := unit.part.below(name)) is not None
        ]
        if not unit.part.others:  # only a folder on the way to what is wanted
            directory = Directory()
        large = self._fill(unit.path, directory, folders)
        self._count(directory.files, large)
        return [*folders, *(_Large(unit.path, entry) for entry in large)]

    def _count(self, files: Sequence[FileEntry], left: Sequence[FileEntry]) -> None:
        """``files`` are done, but for those of them that were ``left`` for later."""
        size_bytes = sum([entry.digest.size_bytes for entry in files])
        size_bytes -= sum([entry.digest.size_bytes for entry in left])
        self._add(len(files) - len(left), size_bytes)

    def _add(self, files: int, size_bytes: int) -> None:
        with self._lock:
            self._done_files += files
            self._done_bytes += size_bytes

    @abstractmethod
    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        """Make files, links and empty folders at ``path``; the files that were left for later."""

    @abstractmethod
    def _copy_large(self, unit: _Large) -> None:
        """Make a file that was left for later."""


class _Aside:
    """Folders that the companion fills; large files stay here."""

    def __init__(self, session: Session, add: Callable[[int, int], None]) -> None:
        self._session = session
        self._add = add
        self._sent: deque[Sequence[_Folder | _Large]] = deque()

    def begin(self) -> bool:
        return self._session.begin()

    def takes(self, unit: _Folder | _Large) -> bool:
        return isinstance(unit, _Folder)

    def send(self, units: Sequence[_Folder | _Large]) -> None:
        self._session.send(units)
        self._sent.append(units)

    def receive(self, wait_s: float) -> list[_Folder | _Large] | None:
        done: list[_Filled] | None = self._session.receive(wait_s)
        if done is None:
            return None
        following = [*self._sent.popleft()[len(done) :]]
        for filled in done:
            self._add(filled.files, filled.size_bytes)
            following += filled.following
        return following


class _Links(_Checkout):
    work = "links"

    def __init__(self, blobs: StoreBlobs, context: Context, target: str) -> None:
        super().__init__(blobs, context)
        self.copied_bytes = 0
        self._staging = blobs.staging
        self._volume = blobs.staging.volume
        self._target = target

    def make(self) -> None:
        """The folder itself."""
        if not self._volume.make_folder(self._target, mode=0o755):
            raise VolumeFailed("a new folder was there before", self._target)

    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        here = f"{self._target}{path}"
        for folder in folders:
            self._volume.make_folder(f"{self._target}{folder.path}", mode=0o755)
        copies = self._link_files(here, directory.files) if directory.files else []
        for name, target in directory.symlinks:
            self._volume.symlink(target, f"{here}/{name}")
        return copies

    def _link_files(self, here: str, files: Sequence[FileEntry]) -> list[FileEntry]:
        place, link, executable = self._volume.layout.object, self._volume.link, self._blobs.executable
        copies = []
        look = self._folder(here)
        try:
            for entry in files:
                name, digest, is_executable = entry
                hash_hex, size_bytes = digest
                target = f"{here}/{name}"
                if not size_bytes and digest == EMPTY:
                    self._volume.stage(target, b"", mode=_mode(entry))
                    continue
                source = executable(digest) if is_executable else place(hash_hex)
                try:
                    linked = link(source, target)
                except FileNotFoundError:
                    linked = self._found_again(entry, source, target)
                if not linked:
                    copies.append(entry)
                    continue
                try:  # at the link, which nobody exchanges; by a short way, for it changes nothing
                    there = os.stat(name, dir_fd=look, follow_symlinks=False)
                except OSError as error:
                    self._staging.confirm()  # without its folder this operation is over
                    raise failure(error, target) from error
                if there.st_size != size_bytes or not stat.S_ISREG(there.st_mode):
                    self._volume.unlink(target)
                    raise wrong_size(digest, source) or missing(digest, source)
        finally:
            os.close(look)
        return copies

    def _folder(self, path: str) -> int:
        """A descriptor to look into a folder of this operation; changes go by full paths (the fence)."""
        try:
            return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            self._staging.confirm()
            raise failure(error, path) from error

    def _found_again(self, entry: FileEntry, source: str, path: str) -> bool:
        """A cleanup may have it in its hands: looked for everywhere and put back, or BlobMissing."""
        os.close(self._objects.open(entry.digest))
        try:
            return self._volume.link(source, path)
        except FileNotFoundError:
            raise missing(entry.digest, source) from None

    def _copy_large(self, unit: _Large) -> None:
        """No link was possible: too many links, or a file system that has none."""
        digest = unit.entry.digest
        charged = self._volume.charge(digest.size_bytes)
        self._staging.spend(charged)
        with self._lock:
            self.copied_bytes += charged
        path = f"{self._target}{unit.path}/{unit.entry.name}"
        file = self._volume.stage_stream(path, mode=_mode(unit.entry))
        try:
            for chunk in self._objects.stream(digest):
                self._crew.check()
                file.write(chunk)
            file.finish()
        except BaseException:
            file.discard()
            raise


class _Copy(_Checkout):
    refused = MARK
    work = "copy"

    def __init__(self, blobs: StoreBlobs, context: Context, place: Destination) -> None:
        super().__init__(blobs, context)
        self._place = place

    def _fill(self, path: str, directory: Directory, folders: list[_Folder]) -> list[FileEntry]:
        large = []
        fd = self._place.open(path)
        try:
            for entry in directory.files:
                if entry.digest.size_bytes > SMALL_BYTES:
                    large.append(entry)
                else:
                    self._copy_small(entry, fd)
            for name, target in directory.symlinks:
                os.symlink(target, name, dir_fd=fd)
            for folder in folders:
                os.mkdir(folder.path.rpartition("/")[2], 0o777, dir_fd=fd)
        except OSError as error:
            raise self._place.failure(error, path) from error
        finally:
            os.close(fd)
        return large

    def _copy_small(self, entry: FileEntry, fd: int) -> None:
        data = self._objects.content(entry.digest)
        file = os.open(entry.name, _NEW_FILE, 0o777 if entry.executable else 0o666, dir_fd=fd)
        try:
            written = os.write(file, data) if data else 0
            while written < len(data):
                written += os.write(file, data[written:])
        finally:
            os.close(file)

    def _copy_large(self, unit: _Large) -> None:
        entry = unit.entry
        source = self._objects.open(entry.digest)
        try:
            fd = self._place.open(unit.path)
            try:
                file = os.open(entry.name, _NEW_FILE, 0o777 if entry.executable else 0o666, dir_fd=fd)
            finally:
                os.close(fd)
            try:
                self._copy(source, file, entry.digest.size_bytes)
            finally:
                os.close(file)
        except OSError as error:
            raise self._place.failure(error, f"{unit.path}/{entry.name}") from error
        finally:
            os.close(source)

    def _copy(self, source: int, file: int, size_bytes: int) -> None:
        """In the kernel: shared extents where the file system can, else without a way through here."""
        ranges = True
        at = 0
        while at < size_bytes:
            self._crew.check()
            try:
                if ranges:
                    count = os.copy_file_range(source, file, min(COPY_BYTES, size_bytes - at), at)
                else:
                    count = os.sendfile(file, source, at, min(COPY_BYTES, size_bytes - at))
            except OSError as error:
                if not ranges or error.errno not in _NO_RANGE:
                    raise
                ranges = False
                continue
            if not count and ranges:  # some file systems answer nothing instead of refusing
                ranges = False
            elif not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            at += count


def _mode(entry: FileEntry) -> int:
    return 0o555 if entry.executable else 0o444
