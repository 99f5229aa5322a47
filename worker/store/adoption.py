"""A cache folder of BuildStream 1.x becomes a volume, in place and once (safety.md section 2).

Its objects keep their place and its refs stay as they are: a Digest reads as a ref record. Each object is
hashed first (I1), for BuildStream 1.x stores downloads unverified (D-21) and shares inodes with extracts
and checkouts (D-10), and becomes a read-only inode of its own. What does not match its name is moved to
``damaged/``, never deleted (I9). Extracts, staging and the size file go.
Promises: cut short at any step, it can run again. Does not promise that BuildStream may run meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import VolumeFailed
from worker.protocols import CHUNK_BYTES
from worker.store.damage import hash_of
from worker.store.failures import failure
from worker.store.format import find_format, staged_formats

if TYPE_CHECKING:
    from collections.abc import Callable

    from caskeeper.layout import Layout
    from worker.store.format import CreationLock
    from worker.store.volume import Volume

_FAN_OUT_NAME = re.compile(r"[0-9a-f]{2}\Z")
_OBJECT_NAME = re.compile(r"[0-9a-f]{62}\Z")
#: hashing and the disk, both kept busy
_THREADS = 4


class Adoption(NamedTuple):
    """What was taken over. ``damaged``: where the files lie now that are not what their names say."""

    objects: int
    size_bytes: int
    damaged: tuple[str, ...]


def needs_adoption(layout: Layout) -> bool:
    """Whether refs are here and neither FORMAT nor a staged one is, which comes after an adoption.

    VolumeFailed when this was a volume of ours that has lost its FORMAT: other processes may be at work.
    """
    if find_format(layout) is not None or staged_formats(layout) or not os.path.isdir(layout.refs):
        return False
    for folder in _listing(layout.closures):
        if folder.is_dir(follow_symlinks=False) and _listing(folder.path):
            raise VolumeFailed(
                "a volume has lost its FORMAT",
                layout.format,
                "put the file back; or stop everything that uses the volume and remove `cas/closures`, "
                "and it is taken over as a new one",
            )
    return True


def adopt(volume: Volume, _lock: CreationLock, *, check: Callable[[], None] = lambda: None) -> Adoption:
    """Turn what lies here into content of a volume; FORMAT is then the caller's to stage and publish.

    The lock must be held from ``needs_adoption`` until FORMAT is published. ``check`` is called from
    several threads and raises to stop; running again goes on. PermissionDenied for files of another user.
    """
    layout = volume.layout
    # extracts first: they hold second names of the objects
    _remove(volume, layout.extracts)
    _empty(volume, layout.staging)
    volume.unlink(f"{layout.root}/cache_size")
    volume.make_folders(f"{layout.staging}/adoption")
    fan_out = [entry.path for entry in _listing(layout.objects) if _FAN_OUT_NAME.match(entry.name)]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="adoption") as threads:
        parts = list(threads.map(lambda folder: _adopt_folder(volume, folder, check), fan_out))
    volume.remove_folder(f"{layout.staging}/adoption")
    volume.sync()
    return Adoption(
        objects=sum(part.objects for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        damaged=tuple(path for part in parts for path in part.damaged),
    )


def _adopt_folder(volume: Volume, folder: str, check: Callable[[], None]) -> Adoption:
    objects = size_bytes = 0
    damaged = []
    for entry in _listing(folder):
        check()
        if not _OBJECT_NAME.match(entry.name) or not entry.is_file(follow_symlinks=False):
            continue  # not an object, and not ours to judge
        aside, length = _adopt_object(volume, entry.path, os.path.basename(folder) + entry.name)
        if aside:
            damaged.append(aside)
        else:
            objects += 1
            size_bytes += length
    return Adoption(objects, size_bytes, tuple(damaged))


def _adopt_object(volume: Volume, path: str, hash_hex: str) -> tuple[str, int]:
    """Make one file an object; where it lies now when its bytes are not its name's, else "", and its size."""
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            there = os.fstat(fd)
            found = hash_of(fd, path)
            if found.hash == hash_hex and there.st_nlink > 1:
                _separate(volume, fd, path, hash_hex)
                return "", found.size_bytes
        finally:
            os.close(fd)
    except OSError as error:
        raise failure(error, path) from error
    if found.hash != hash_hex:
        aside = f"{volume.layout.root}/damaged/{hash_hex}"
        volume.publish(path, aside)
        return aside, found.size_bytes
    if stat.S_IMODE(there.st_mode) != 0o444:
        volume.chmod(path, 0o444)
    volume.settle_times(path)
    return "", found.size_bytes


def _separate(volume: Volume, fd: int, path: str, hash_hex: str) -> None:
    """Put a copy where a file with names outside of the store lies: through those it could be changed."""
    copy = volume.stage_stream(f"{volume.layout.staging}/adoption/{hash_hex}")
    offset = 0
    while chunk := os.pread(fd, CHUNK_BYTES, offset):
        copy.write(chunk)
        offset += len(chunk)
    copy.finish()
    volume.replace(copy.path, path)


def _remove(volume: Volume, path: str) -> None:
    """A folder with all that is in it, read-only folders too; a symbolic link only as such."""
    if os.path.islink(path):
        volume.unlink(path)
    elif os.path.isdir(path):
        if not os.access(path, os.W_OK | os.X_OK | os.R_OK):
            volume.chmod(path, 0o700)
        _empty(volume, path)
        volume.remove_folder(path)


def _empty(volume: Volume, folder: str) -> None:
    for entry in _listing(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove(volume, entry.path)
        else:
            volume.unlink(entry.path)


def _listing(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise failure(error, folder) from error
