"""Closure lists: everything below a published root in one sequential read (safety.md section 2).

A list is derived data: missing or damaged, it is rebuilt by walking. It is a header, one record of fixed
width for each digest in the order of the hashes, and the SHA-256 of all that, so that no damaged byte goes
unnoticed. Root and scope decide every byte of it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import Digest, Hasher
from caskeeper.errors import VolumeFailed
from worker.closure import walk
from worker.store.failures import failure
from worker.store.format import without_age

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from worker.closure import Closure, Scope
    from worker.store.objects import Objects
    from worker.store.staging import Staging
    from worker.store.volume import Volume

_MAGIC = b"cklist\x00\x01"
#: magic, root, scope id, number of records
_HEADER = struct.Struct(">8s32s16sQ")
#: hash, size with the highest bit set for a Directory
_RECORD = struct.Struct(">32sQ")
#: The size of one record; the hash comes first.
RECORD_BYTES = _RECORD.size
#: Set in a record's size.
IS_DIRECTORY = 1 << 63
_SUM_BYTES = 32
_NAME = re.compile(r"([0-9a-f]{62})\.(whole|[0-9a-f]{16})\Z")
_FAN_OUT = re.compile(r"[0-9a-f]{2}\Z")
_LOOKS = 200
_MOMENT_S = 0.005


def record_of(hash_bytes: bytes, size_bytes: int) -> bytes:
    """One record, of what is no Directory."""
    return _RECORD.pack(hash_bytes, size_bytes)


class ListEntry(NamedTuple):
    """One record; a hash that is both a Directory and a file counts as a Directory."""

    hash_bytes: bytes
    size_bytes: int
    is_directory: bool


class ClosureList:
    """The digests of one root in one scope, sorted by hash, 40 bytes each."""

    def __init__(self, root_hash: str, scope_id: str, records: bytes) -> None:
        self.root_hash = root_hash
        self.scope_id = scope_id
        self._records = records

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    @property
    def records(self) -> bytes:
        """Every record as it is stored, sorted by hash."""
        return self._records

    @property
    def entries(self) -> Iterator[ListEntry]:
        """Every record."""
        for hash_bytes, size in _RECORD.iter_unpack(self._records):
            yield ListEntry(hash_bytes, size & ~IS_DIRECTORY, size >= IS_DIRECTORY)

    def digests(self) -> Iterator[Digest]:
        """Every digest."""
        for hash_bytes, size in _RECORD.iter_unpack(self._records):
            yield Digest(hash_bytes.hex(), size & ~IS_DIRECTORY)

    def holds(self, hash_bytes: bytes) -> bool:
        """Whether one of the records is of this hash."""
        records, width = self._records, _RECORD.size
        at = bisect_left(
            range(len(self)), hash_bytes, key=lambda number: records[number * width : number * width + 32]
        )
        return records[at * width : at * width + 32] == hash_bytes

    @property
    def size_bytes(self) -> int:
        """The sum of all sizes."""
        return sum(size & ~IS_DIRECTORY for _, size in _RECORD.iter_unpack(self._records))

    @classmethod
    def of(cls, closure: Closure) -> ClosureList:
        """The list of a closure."""
        directories = dict(closure.directories)
        files: Collection[tuple[str, int]] = closure.files
        if len({hash_hex for hash_hex, _ in files}) != len(files):  # one of them claims another size
            files = dict(files).items()
        # In hex, which sorts as the bytes do, and is turned into them at once.
        records = [
            "%s%016x" % file  # noqa: UP031 -- half of the time of an f-string that takes it apart
            for file in files
            if file[0] not in directories
        ]
        records += [f"{hash_hex}{size | IS_DIRECTORY:016x}" for hash_hex, size in directories.items()]
        records.sort()
        return cls(closure.root.hash, closure.scope.id, bytes.fromhex("".join(records)))

    def to_bytes(self) -> bytes:
        """The file."""
        body = self._head() + self._records
        return body + Hasher(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes, root_hash: str, scope_id: str) -> ClosureList | None:
        """What the file of this root and scope holds; None when any byte of it is not as written."""
        found = cls(root_hash, scope_id, data[_HEADER.size : -_SUM_BYTES])
        if len(found._records) % _RECORD.size or not data.startswith(found._head()):
            return None
        return found if Hasher(data[:-_SUM_BYTES]).digest() == data[-_SUM_BYTES:] else None

    def _head(self) -> bytes:
        return _HEADER.pack(_MAGIC, bytes.fromhex(self.root_hash), self.scope_id.encode(), len(self))


class ClosureFile(NamedTuple):
    """One list in a listing, unread. ``size_bytes`` as charged, ``age_ns`` is its atime."""

    root_hash: str
    scope_id: str
    size_bytes: int
    age_ns: int


class Closures:
    """The closure lists of one volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._layout = volume.layout

    def read(self, root_hash: str, scope_id: str) -> ClosureList | None:
        """The list as stored; None = missing or damaged."""
        data = _content(self._layout.closure(root_hash, scope_id))
        return None if data is None else ClosureList.from_bytes(data, root_hash, scope_id)

    def write(self, staging: Staging, closure: Closure) -> None:
        """Publish the list like an object: what is there already is made young, unless it is damaged."""
        path = self._layout.closure(closure.root.hash, closure.scope.id)
        data = ClosureList.of(closure).to_bytes()
        for _ in range(_LOOKS):
            if self._refresh(staging, path, data):
                return
            if os.path.isdir(path) and not os.path.islink(path):
                self._volume.move_folder(path, staging.path())  # no list, and it goes with the operation
            staged = staging.stage(data)
            if _content(path) in {None, data}:
                staging.publish(staged, path, size_bytes=len(data))
            else:
                # Derived data is the one thing that may be replaced under its name: whoever reads the
                # damaged list rebuilds it, whoever wrote it writes these bytes, and its age is renewed
                # by the next look. The place of the damaged one is given back by the next recount.
                self._volume.replace(staged, path)
                staging.add(self._volume.charge(len(data)))
        raise VolumeFailed("it is taken away as often as it is written", path)

    def obtain(self, root: Digest, scope: Scope, objects: Objects) -> ClosureList:
        """The list as stored, else rebuilt in memory. BlobMissing when a Directory of the scope is gone."""
        found = self.read(root.hash, scope.id)
        return ClosureList.of(walk(root, scope, objects.directory)) if found is None else found

    def listing(self) -> Iterator[ClosureFile]:
        """Every list. VolumeFailed for a folder that cannot be listed and for a name that is no list's (I9).

        What is no file is none: its tree is walked as if it were missing, and whoever writes it replaces it.
        """
        for folder in _entries(self._layout.closures):
            if not _FAN_OUT.match(folder.name):
                raise _stranger(folder.path)
            for entry in _entries(folder.path):
                name = _NAME.match(entry.name)
                if name is None:
                    raise _stranger(entry.path)
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise failure(error, entry.path) from error
                if not stat.S_ISREG(status.st_mode):
                    continue
                size_bytes = self._volume.charge(status.st_size)
                yield ClosureFile(folder.name + name[1], name[2], size_bytes, status.st_atime_ns)

    def _refresh(self, staging: Staging, path: str, data: bytes) -> bool:
        """As for an object (safety.md section 9), but every byte is compared. False: to be written."""
        for look in range(_LOOKS):
            if not self._volume.touch(path):
                return False
            try:
                age_ns = os.lstat(path).st_atime_ns
            except FileNotFoundError:
                return False
            except OSError as error:
                raise failure(error, path) from error
            if age_ns >= staging.start_ns:
                return _content(path) == data
            if look:
                time.sleep(_MOMENT_S)
        raise VolumeFailed(
            "its clock is behind the start of this operation", path, "set the clock of the volume's host"
        )


def _content(path: str) -> bytes | None:
    """The file's bytes; None: nothing is there. Empty when what is there is no file, or not as long as its
    header says: what is huge is not read.
    """  # noqa: D205 -- one thought
    try:
        # Looking is no use; a pipe that stands there is opened without waiting for its other end.
        fd = without_age(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return b""
        raise failure(error, path) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return b""
        with open(fd, "rb", buffering=0, closefd=False) as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                return b""
            rest_bytes = _HEADER.unpack(head)[3] * _RECORD.size + _SUM_BYTES
            if status.st_size != _HEADER.size + rest_bytes:
                return b""
            return head + file.read()
    except OSError as error:
        raise failure(error, path) from error
    finally:
        os.close(fd)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError as error:
        raise failure(error, folder) from error


def _stranger(path: str) -> VolumeFailed:
    return VolumeFailed(
        "this is no closure list",
        path,
        "move it out of the cache: as long as it is there, nothing is deleted",
    )
