"""FORMAT: the one file that makes a folder a volume, and how a volume comes into being.

Whoever creates a volume holds the creation lock from the look for FORMAT until it is published, and goes
in this order: folders, (adoption of what lay there,) FORMAT staged as ``tmp/FORMAT.<volume id>``, the
state in Redis, FORMAT renamed into place. A crash leaves a staged FORMAT, which the next one completes.
Promises: a damaged FORMAT or one of another version is an error and never "no volume here" (I9).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.errors import Busy, ConfigInvalid, VolumeFailed
from caskeeper.layout import VERSION
from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.layout import Layout
    from worker.store.volume import Volume

#: Removed when the disk is full, so that renames into the trash can be written (safety.md section 2).
BALLAST_BYTES = 4 * 1024 * 1024
_STAGED = "FORMAT."
_RESTORE = "restore it from a backup of this file"
_FAN_OUT = tuple(f"{number:02x}" for number in range(256))
_POLL_S = 0.05
_LARGEST_BLOCK = 1 << 30
#: What is longer is no FORMAT.
_LIMIT_BYTES = 64 * 1024
#: What can be a part of a key in Redis, as every volume's id was made.
_WORD = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


class Format(NamedTuple):
    """What FORMAT says. ``epoch`` is the one in which the volume was made (safety.md section 7)."""

    volume_id: str
    block_bytes: int
    uid: int
    epoch: str
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """One JSON object and a newline, for people to read too."""
        return json.dumps(self._asdict(), indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, where: str) -> Format:
        """Raises VolumeFailed for what is no FORMAT, ConfigInvalid for one of another version."""
        try:
            document = json.loads(data)
            version = int(document["version"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise VolumeFailed("FORMAT is damaged", where, _RESTORE) from None
        if version != VERSION:
            raise ConfigInvalid(
                f"the volume has layout version {version}, this program reads version {VERSION}",
                where,
                "use a program of the version that made it, or another `cachedir`",
            )
        try:
            found = cls(
                str(document["volume_id"]),
                int(document["block_bytes"]),
                int(document["uid"]),
                str(document["epoch"]),
                version,
            )
        except (ValueError, KeyError, TypeError, OverflowError):
            found = None
        if found is None or not 0 < found.block_bytes <= _LARGEST_BLOCK or not _WORD.match(found.volume_id):
            raise VolumeFailed("FORMAT is damaged", where, _RESTORE)
        return found


class CreationLock(NamedTuple):
    """Held by at most one process for one cache folder, until FORMAT is there."""

    fd: int


@contextmanager
def creation_lock(volume: Volume, *, wait_s: float = 60.0) -> Iterator[CreationLock]:
    """The right to create a volume here or to adopt one. Raises Busy after ``wait_s`` seconds.

    The kernel ends it with its holder, so a killed one leaves nothing to break.
    """
    folder = volume.layout.run
    path = f"{folder}/creation.lock"
    volume.make_folder(folder, mode=0o700)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise failure(error, path) from error
    try:
        until = time.monotonic() + wait_s
        while not _locked(fd, path):
            if time.monotonic() >= until:
                raise Busy("another process is preparing this volume", path)
            time.sleep(_POLL_S)
        yield CreationLock(fd)
    finally:
        os.close(fd)


def _locked(fd: int, path: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise failure(error, path) from error
    return True


def find_format(layout: Layout) -> Format | None:
    """What FORMAT says; None when there is none, which is only so before a volume was made."""
    return _read(layout.format)


def _read(path: str) -> Format | None:
    try:
        with open(path, "rb", opener=without_waiting) as file:
            data = file.read(_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):  # to nothing: somebody was at it, and so it is damaged
            raise VolumeFailed("FORMAT is damaged", path, _RESTORE) from None
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            raise VolumeFailed("FORMAT is damaged", path, _RESTORE) from None
        raise failure(error, path) from error
    return Format.parse(data, path)


def without_age(path: str, flags: int) -> int:
    """Open without the reading becoming its age, as most mounts have it once after every touch."""
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # another user's, which the check of the owner is about to say
        return os.open(path, flags)


def without_waiting(path: str, flags: int) -> int:
    """The same; a pipe in its place would have us wait for its writer."""
    return without_age(path, flags | os.O_NONBLOCK)


def new_format(volume: Volume) -> Format:
    """A FORMAT for a volume made now, by this user."""
    return Format(
        volume_id=secrets.token_hex(16),
        block_bytes=volume.block_bytes,
        uid=os.geteuid(),
        epoch=secrets.token_hex(8),
    )


def stage_format(volume: Volume, volume_format: Format) -> str:
    """Write it beside its place, flushed to the disk; the path. Staged before: as it was."""
    staged = _staged_path(volume.layout, volume_format)
    if _read(staged) is None:
        volume.stage(staged, volume_format.to_bytes())
        volume.sync()
    return staged


def publish_format(volume: Volume, volume_format: Format) -> Format:
    """Rename the staged one into place, and answer what FORMAT says now: another's, if that came first."""
    staged = _staged_path(volume.layout, volume_format)
    if not volume.publish(staged, volume.layout.format):
        volume.unlink(staged)
    volume.sync()
    there = find_format(volume.layout)
    if there is None:
        raise VolumeFailed("FORMAT vanished as soon as it was written", volume.layout.format)
    return there


def replace_format(volume: Volume, volume_format: Format) -> None:
    """Put it in place of one that cannot be read. The creation lock is held.

    What is no file there is moved aside, to ``damaged/FORMAT``.
    """
    place = volume.layout.format
    if os.path.isdir(place) and not os.path.islink(place):
        volume.move_folder(place, f"{volume.layout.root}/damaged/FORMAT.{secrets.token_hex(4)}")
    staged = f"{volume.layout.run}/FORMAT.{secrets.token_hex(8)}"
    volume.stage(staged, volume_format.to_bytes())
    volume.sync()
    volume.replace(staged, place)
    volume.sync()


def staged_formats(layout: Layout) -> tuple[Format, ...]:
    """Those of creations that did not come to their end. One cut short by a power cut does not count."""
    try:
        names = sorted(name for name in os.listdir(layout.staging) if name.startswith(_STAGED))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise failure(error, layout.staging) from error
    found = []
    for name in names:
        try:
            staged = _read(f"{layout.staging}/{name}")
        except VolumeFailed:
            continue
        if staged is not None and name == f"{_STAGED}{staged.volume_id}":
            found.append(staged)
    return tuple(found)


def discard_staged(volume: Volume, volume_format: Format) -> None:
    """Remove a staged FORMAT that shall not be completed."""
    volume.unlink(_staged_path(volume.layout, volume_format))


def _staged_path(layout: Layout, volume_format: Format) -> str:
    return f"{layout.staging}/{_STAGED}{volume_format.volume_id}"


def prepare_folders(volume: Volume) -> None:
    """Every folder of the layout, the fan-out included: made once, so that no write has to look for it."""
    layout = volume.layout
    for folder in (layout.pins, layout.refs, layout.extracts, layout.staging, layout.trashes):
        volume.make_folders(folder)
    volume.make_folder(layout.run, mode=0o700)
    for parent in (layout.objects, layout.executables, layout.closures):
        volume.make_folders(parent)
        for name in _FAN_OUT:
            volume.make_folder(f"{parent}/{name}")


def make_ballast(volume: Volume) -> bool:
    """Set some disk aside. False: it was there. NoSpace when the disk is full already."""
    if os.path.lexists(volume.layout.ballast):
        return False
    try:
        volume.stage(volume.layout.ballast, bytes(BALLAST_BYTES))
    except VolumeFailed:
        if os.path.lexists(volume.layout.ballast):
            return False  # another process that starts at the same moment was first
        raise
    return True


def drop_ballast(volume: Volume) -> bool:
    """Free it, for a cleanup on a full disk. False: it was gone already."""
    return volume.unlink(volume.layout.ballast) is not None
