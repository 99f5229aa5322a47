"""A checkout by links: a shared folder, whose files are the objects themselves (local-cas section 6)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY
from caskeeper.errors import VolumeFailed
from worker.closure import WHOLE
from worker.protocols import quiet
from worker.store.checkout import Checkout
from worker.store.companion.messages import CompanionLost
from worker.store.damage import missing, wrong_size
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caskeeper.digest import Digest
    from worker.closure import Scope
    from worker.directory import Directory, FileEntry
    from worker.protocols import Context
    from worker.store.blobs import StoreBlobs
    from worker.store.checkout import Filled, Folder, Large
    from worker.store.companion.owner import Companion


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
        blobs.staging.confirm()  # else what was not removed here is not given back here
        blobs.staging.refund(links.copied_bytes)
        links = _Links(blobs, context, target)
        links.run(start)
    return links.copied_bytes


def links_aside(blobs: StoreBlobs, check: Callable[[], None], *, target: str) -> Callable[[Folder], Filled]:
    """What a companion does for ``checkout_links``."""
    return _Links(blobs, quiet()._replace(check=check), target).fill


class _Links(Checkout):
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

    def make_entries(self, path: str, directory: Directory, folders: list[Folder]) -> list[FileEntry]:
        here = f"{self._target}{path}"
        for folder in folders:
            self._volume.make_folder(f"{self._target}{folder.path}", mode=0o755)
        copies = self._link_files(here, directory.files) if directory.files else []
        for name, target in directory.symlinks:
            self._volume.symlink(target, f"{here}/{name}")
        return copies

    def _link_files(self, here: str, files: Sequence[FileEntry]) -> list[FileEntry]:
        place, link, executable = self._volume.layout.object, self._volume.link, self.blobs.executable
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
        os.close(self.objects.open(entry.digest))
        try:
            return self._volume.link(source, path)
        except FileNotFoundError:
            raise missing(entry.digest, source) from None

    def copy_large(self, unit: Large) -> None:
        """No link was possible: too many links, or a file system that has none."""
        digest = unit.entry.digest
        charged = self._volume.charge(digest.size_bytes)
        self._staging.spend(charged)
        with self.lock:
            self.copied_bytes += charged
        path = f"{self._target}{unit.path}/{unit.entry.name}"
        file = self._volume.stage_stream(path, mode=_mode(unit.entry))
        try:
            for chunk in self.objects.stream(digest):
                self.crew.check()
                file.write(chunk)
            file.finish()
        except BaseException:
            file.discard()
            raise


def _mode(entry: FileEntry) -> int:
    return 0o555 if entry.executable else 0o444
