"""What a server took in, written down before it is published: files ``tmp/uploads-<operation>.<n>``.

Clients upload first and bind a name later, or never. What never got a name is found by these journals, so
no cleanup lists ``objects/`` for it (docs/decisions/0010). Promises: every object that was published under
the operation is in its journal, also after kill -9; no journal grows once its operation was fenced, for each
file gets its full length in the operation's folder and is renamed out of it (I5). A journal proves nothing
and protects nothing: it only says where to look, and whoever looks judges by closure lists and ages.
"""

from __future__ import annotations

import os
import re
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import VolumeFailed
from worker.store.failures import failure
from worker.store.format import without_age

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from caskeeper.digest import Digest
    from worker.store.staged_file import StagedFile
    from worker.store.staging import Staging
    from worker.store.volume import Volume

PREFIX = "uploads-"
#: The hash, and the size in bytes; all zero where nothing was written yet.
_RECORD = struct.Struct(">32sQ")
_NOTHING = bytes(_RECORD.size)
#: The first file of a journal takes this much, each further one twice as much up to the last figure.
_FIRST_BYTES, _MOST_BYTES = 4096, 256 * 1024
#: How long the end waits for whoever writes.
CLOSE_S = 5.0
_NAME = re.compile(r"uploads-([a-z-]+-[0-9a-f]{32})\.[0-9]+\Z")


class Journal:
    """The journal of one operation while it runs. Safe to use from several threads."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._guard = threading.Lock()
        self._file: StagedFile | None = None
        self._files = 0
        self._at = self._length = 0

    def note(self, digests: Collection[Digest]) -> None:
        """They are about to be published. Raises what spending and writing raise, and LeaseLost."""
        records = b"".join([_RECORD.pack(bytes.fromhex(hash_hex), size) for hash_hex, size in digests])
        with self._guard:
            while records:
                if self._file is None or self._at + _RECORD.size > self._length:
                    self._file = self._grow()
                fitting = (self._length - self._at) // _RECORD.size * _RECORD.size
                self._file.overwrite(self._at, records[:fitting])
                self._at += len(records[:fitting])
                records = records[fitting:]

    def _grow(self) -> StagedFile:
        """The next file, of its full length from the start: spent for and counted like an object."""
        length = min(_FIRST_BYTES << self._files, _MOST_BYTES)
        folder = self._staging.volume.layout.staging
        target = f"{folder}/{PREFIX}{self._staging.id}.{self._files}"
        file = self._staging.stage_stream(length, mode=0o644)
        try:
            file.write(bytes(length))
            published = self._staging.publish(file.path, target, size_bytes=length)
        except BaseException:
            if file.discard():
                self._staging.refund(self._staging.volume.charge(length))
            raise
        if not published:
            file.close()
            raise VolumeFailed("a journal of this operation stands there already", target)
        file.path = target
        self._files += 1
        self._close()
        self._at, self._length = 0, length
        return file

    def close(self) -> None:
        """Nothing more is published. Who writes now, and does not get on, is left to it."""
        if self._guard.acquire(timeout=CLOSE_S):
            try:
                self._close()
            finally:
                self._guard.release()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class JournalFile(NamedTuple):
    """One file of an ended operation's journal."""

    path: str
    operation_id: str

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Raw hash and size in bytes of what was noted; none when the file is gone."""
        try:
            with open(self.path, "rb", opener=_open) as file:
                while (record := file.read(_RECORD.size)) != _NOTHING and len(record) == _RECORD.size:
                    yield _RECORD.unpack(record)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error, self.path) from error


def ended_journals(volume: Volume) -> list[JournalFile]:
    """The journals to which nothing is added any more: the folder of their operation is gone.

    In this order: the names first, then the folders. An operation has one folder in its life and publishes
    out of it, so a journal without one is complete.
    """
    folder = volume.layout.staging
    found = []
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            named = _NAME.match(entry.name)
            if named is None or not entry.is_file(follow_symlinks=False):
                continue
            if not os.path.lexists(volume.layout.operation(named[1])):
                found.append(JournalFile(entry.path, named[1]))
    except OSError as error:
        raise failure(error, folder) from error
    return found


def _open(path: str, flags: int) -> int:
    return without_age(path, flags | os.O_NOFOLLOW)
