"""Is it here? A look at the volume that needs neither queue nor worker, and changes nothing.

It reads the two message types that the answer needs (a ref record's Digest fields, a Directory's
sub-directories) by itself: the generated bindings belong to the worker, and a second copy of them in a
build's process may clash with the build's own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import ConfigInvalid, InvalidRequest, PermissionDenied, VolumeFailed
from caskeeper.layout import relative_subdir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from caskeeper.layout import Layout

_HASH, _DIRECTORIES, _NAME, _DIGEST = 1, 2, 1, 2


def is_here(layout: Layout, ref: Ref) -> bool:
    """AC-47: whether the ref exists. Raises VolumeFailed, PermissionDenied."""
    return _exists(layout.ref(ref))


def has_subdir(layout: Layout, ref: Ref, subdir: str) -> bool:
    """AC-48: whether the Directory object of a sub-directory is here. Its content is not looked at."""
    names = relative_subdir(subdir).split("/")
    record = _read(layout.ref(ref))
    found = None if record is None else _hash(record, layout.ref(ref))
    for name in names:
        if not found or found == EMPTY.hash:
            return False
        path = layout.object(found)
        message = _read(path)
        if message is None:
            return False
        found = _child(message, name, path)
    return found is not None and (found == EMPTY.hash or _exists(layout.object(found)))


def check_mounted(layout: Layout) -> None:
    """Raises ConfigInvalid when the volume is not mounted here."""
    if not os.path.isfile(layout.format):
        raise ConfigInvalid(
            "the cache volume is not mounted here",
            layout.root,
            "mount the volume of the workers and name it with `cachedir`, or ask through the queue",
        )


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as trouble:
        raise _failure(trouble, path) from trouble
    return True


def _child(directory: bytes, name: str, path: str) -> str | None:
    """The hash of the sub-directory ``name``."""
    wanted = name.encode()
    for number, value in _fields(directory, path):
        if number != _DIRECTORIES or not isinstance(value, bytes):
            continue
        node = dict(_fields(value, path))
        digest = node.get(_DIGEST)
        if node.get(_NAME) == wanted and isinstance(digest, bytes):
            return _hash(digest, path)
    return None


def _hash(message: bytes, path: str) -> str:
    """The hash in a Digest, or in a record that reads as one. Checked: it becomes a path."""
    for number, value in _fields(message, path):
        if number == _HASH and isinstance(value, bytes):
            try:
                return Digest.checked(value.decode("ascii", "replace"), 0, where=path).hash
            except InvalidRequest:
                break
    raise _damaged(path)


def _fields(message: bytes, path: str) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message in their order: number, and a varint or the bytes."""
    position = 0
    while position < len(message):
        try:
            tag, position = _varint(message, position)
            value: int | bytes = 0
            match tag & 7:
                case 0:
                    value, position = _varint(message, position)
                case 1:
                    position += 8
                case 2:
                    size, position = _varint(message, position)
                    value = message[position : position + size]
                    position += size
                case 5:
                    position += 4
                case _:
                    position = len(message) + 1
        except IndexError:
            position = len(message) + 1
        if position > len(message):
            raise _damaged(path)
        yield tag >> 3, value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as trouble:
        raise _failure(trouble, path) from trouble


def _damaged(path: str) -> VolumeFailed:
    return VolumeFailed(
        "a file is not what it should be", path, "pull the artifact again with --refresh, or remove it"
    )


def _failure(trouble: OSError, path: str) -> PermissionDenied | VolumeFailed:
    """I10: trouble is never a miss."""
    kind = PermissionDenied if isinstance(trouble, PermissionError) else VolumeFailed
    return kind(trouble.strerror or str(trouble), path)
