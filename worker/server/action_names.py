"""Which ref an action stands for (wire-protocols section 6, our own use of the ActionCache).

A digest does not say what it is the digest of. Its bytes do, where a client uploaded them; for refs that
came another way the names on the volume are hashed and kept in memory. Kept names are a hint: whoever gets
a ref from here looks it up. What is not known is looked for in a listing that begins after the question,
so no ref that was there is missed.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.digest import Digest, Hasher
from caskeeper.errors import BlobMissing, DigestMismatch, InvalidRequest
from worker.names import ACTION_KEY, action_key
from worker.server.published import OWN_PROJECTS
from worker.store.failures import failure

if TYPE_CHECKING:
    from caskeeper.layout import Layout
    from worker.store.objects import Objects

#: A ref has three names of 1 to 255 characters.
_MIN_BYTES, _MAX_BYTES = len(ACTION_KEY) + 5, len(ACTION_KEY) + 3 * 255 + 2
#: Two changes of a folder within this time may leave one time on it.
_TICK_NS = 2_000_000_000


class _Folder(NamedTuple):
    """A folder as it was listed. ``settled``: any later change shows in ``identity``."""

    identity: tuple[int, int]
    names: tuple[str, ...]
    settled: bool


class ActionNames:
    """The names of one volume. Safe to use from several threads."""

    def __init__(self, layout: Layout, objects: Objects) -> None:
        self._layout = layout
        self._objects = objects
        self._folders: dict[str, _Folder] = {}
        #: digest of the key bytes -> the ref as text, and what of it came from which folder
        self._refs: dict[bytes, str] = {}
        self._hashes: dict[str, set[bytes]] = {}
        self._turn = threading.Condition()
        self._begun = self._ended = 0
        self._running = False

    def known(self, action: Digest) -> Ref | None:
        """The ref of ``action`` by its bytes, or by a name seen before."""
        if not _MIN_BYTES <= action.size_bytes <= _MAX_BYTES:
            return None
        data = self._read(action)
        if data is None:
            text = self._refs.get(bytes.fromhex(action.hash), "")
        else:
            text = data.decode("utf-8", "replace").removeprefix(ACTION_KEY)
        try:
            ref = Ref.parse(text)
        except InvalidRequest:
            return None
        if ref.project in OWN_PROJECTS or Digest.of(action_key(ref)) != action:
            return None  # not written exactly so
        return ref

    def search(self, action: Digest) -> Ref | None:
        """As ``known``, and if need be by the names of all refs there are now."""
        found = self.known(action)
        if found is not None or not _MIN_BYTES <= action.size_bytes <= _MAX_BYTES:
            return found
        if self._read(action) is not None:
            return None  # we have seen what it is
        self._list_anew()
        return self.known(action)

    def _read(self, action: Digest) -> bytes | None:
        try:
            return self._objects.read(action)
        except (BlobMissing, DigestMismatch):
            return None

    # -- the listing -----------------------------------------------------------------------------------

    def _list_anew(self) -> None:
        """Return after a listing that began after this call; whoever waits for one shares it."""
        with self._turn:
            wanted = self._begun + 1
            while self._ended < wanted and self._running:
                self._turn.wait()
            if self._ended >= wanted:
                return
            self._running = True
            self._begun += 1
        whole = False
        try:
            self._list()
            whole = True
        finally:
            with self._turn:
                self._running = False
                if whole:
                    self._ended = self._begun
                self._turn.notify_all()

    def _list(self) -> None:
        """Look at every folder of refs, and into those that changed. Trouble is raised (I10)."""
        refs, staging = self._layout.refs, self._layout.staging
        try:
            # A moment of the volume's own clock that has passed: operations come and go here.
            moment_ns = _identity(staging)[1]
            os.stat(refs)
        except OSError as error:
            raise failure(error, error.filename) from error
        seen: dict[str, _Folder] = {}
        for project in self._names(refs, moment_ns, seen):
            if project in OWN_PROJECTS:
                continue
            for element in self._names(f"{refs}/{project}", moment_ns, seen):
                path = f"{refs}/{project}/{element}"
                before = self._folders.get(path)
                names = self._names(path, moment_ns, seen)
                if before is None or seen[path] is not before:
                    self._take(path, f"{project}/{element}", names)
        for path in self._hashes.keys() - seen.keys():
            self._take(path, "", ())
        self._folders = seen

    def _names(self, path: str, moment_ns: int, seen: dict[str, _Folder]) -> tuple[str, ...]:
        """What is in a folder; nothing when it is gone, or is none."""
        try:
            identity = _identity(path)
            found = self._folders.get(path)
            if found is None or not found.settled or found.identity != identity:
                # A change after this look gives the folder a time after `moment_ns`: not this one again.
                settled = identity[1] < moment_ns - _TICK_NS
                found = _Folder(identity, tuple(os.listdir(path)), settled)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise failure(error, path) from error
        seen[path] = found
        return found.names

    def _take(self, path: str, above: str, names: tuple[str, ...]) -> None:
        """From now on these are the names of one folder."""
        added = {}
        for name in names:
            text = f"{above}/{name}"
            added[Hasher(f"{ACTION_KEY}{text}".encode(errors="surrogateescape")).digest()] = text
        for gone in self._hashes.pop(path, set()) - added.keys():
            self._refs.pop(gone, None)
        self._refs.update(added)
        if added:
            self._hashes[path] = set(added)


def _identity(path: str) -> tuple[int, int]:
    """Inode and time of a folder. Raises FileNotFoundError and other OSErrors."""
    there = os.stat(path)
    return there.st_ino, there.st_mtime_ns
