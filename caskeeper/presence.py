"""Is it here? A look at the volume that needs neither queue nor worker, and changes nothing.

It reads the two message types that the answer needs (a ref record's Digest and scope, a Directory's
entries) by itself: the generated bindings belong to the worker, and a second copy of them in a
build's process may clash with the build's own.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import (
    ArtifactNotFound,
    ConfigInvalid,
    DigestMismatch,
    InvalidRequest,
    PermissionDenied,
    VolumeFailed,
)
from caskeeper.layout import relative_subdir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caskeeper.artifact import Ref
    from caskeeper.layout import Layout

# Field numbers: of a Digest (and of a record, which reads as one), of a Directory, of its nodes, of a record.
_HASH, _SIZE = 1, 2
_FILES, _DIRECTORIES = 1, 2
_NAME, _DIGEST = 1, 2
_SCOPE, _EXCLUDED, _INCLUDED = 18, 1, 2
#: What opening or reading answers for what is no file: a link, a folder, a socket.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})


def is_here(layout: Layout, ref: Ref) -> bool:
    """AC-47: whether the ref exists: a record that can be read. What is behind it is not looked at.

    What stands there and is no record names nothing, so nobody can use it: it is none. Trouble of the disk
    is no miss (I10): raises VolumeFailed, PermissionDenied.
    """
    place = layout.ref(ref)
    try:
        record = _read(place)
        return record is not None and bool(_digest(record, place))
    except _NoRecord:
        return False


def has_subdir(layout: Layout, ref: Ref, subdir: str) -> bool:
    """AC-48: whether a folder of the artifact is here, with all that is below it (D-20).

    An empty folder is. Raises ArtifactNotFound without the ref, InvalidRequest naming the part of the path
    that is no folder, DigestMismatch for damage, VolumeFailed, PermissionDenied.
    """
    names = relative_subdir(subdir).split("/")
    place = layout.ref(ref)
    record = _read(place)
    if record is None:
        raise ArtifactNotFound("there is no such ref", f"ref {ref}")
    found = _digest(record, place)
    for name in names:
        message = _object(layout, found)
        if message is None:
            return False
        below = _child(message, name, layout.object(found.hash))
        if below is None:
            way = "" if name == subdir else f" on the way to {subdir!r}"
            raise InvalidRequest(f"there is no folder {name!r}{way}", f"ref {ref}", "name one that exists")
        found = below
    return found == EMPTY or (_is_recorded(record, names, place) and _is_whole(layout, found))


def _is_recorded(record: bytes, names: list[str], place: str) -> bool:
    """Whether nothing of the folder was left out: what lies here of it by chance, nobody keeps."""
    excluded: set[bytes] = set()
    included: list[bytes] = []
    for number, scope in _fields(record, place):
        for inner, value in _fields(scope, place) if number == _SCOPE and isinstance(scope, bytes) else ():
            if isinstance(value, bytes) and inner == _EXCLUDED:
                excluded.add(value)
            elif isinstance(value, bytes) and inner == _INCLUDED:
                included.append(value)
    above = {"/".join(names[:count]).encode() for count in range(1, len(names) + 1)}
    return names[0].encode() not in excluded or not above.isdisjoint(included)


def _is_whole(layout: Layout, top: Digest) -> bool:
    """Whether everything below a Directory is here. Each message is read once, in however many places."""
    seen, left = {top}, [top]
    while left:
        digest = left.pop()
        message = _object(layout, digest)
        if message is None:
            return False
        for number, _name, below in _nodes(message, layout.object(digest.hash)):
            if below in seen:
                continue
            seen.add(below)
            if number == _DIRECTORIES:
                left.append(below)
            elif not _is_stored(layout, below):
                return False
    return True


def check_mounted(layout: Layout) -> None:
    """Raises ConfigInvalid when the volume is not mounted here, VolumeFailed when only FORMAT is gone."""
    if os.path.isfile(layout.format):
        return
    if os.path.isfile(layout.coordinator) and os.path.isdir(layout.objects):
        raise VolumeFailed(
            "FORMAT is gone, and everything else of the volume is here",
            layout.format,
            "`caskeeper status` writes it anew, or says why it cannot",
        )
    raise ConfigInvalid(
        "the cache volume is not mounted here",
        layout.root,
        "mount the volume of the workers and name it with `cachedir`, or ask through the queue",
    )


def _status(path: str) -> os.stat_result | None:
    """None: nothing is there."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as trouble:
        raise _failure(trouble, path) from trouble


def _child(directory: bytes, name: str, path: str) -> Digest | None:
    """The digest of the sub-directory ``name``."""
    wanted = name.encode()
    for number, held, digest in _nodes(directory, path):
        if number == _DIRECTORIES and held == wanted:
            return digest
    return None


def _nodes(directory: bytes, path: str) -> Iterator[tuple[int, bytes, Digest]]:
    """The files and sub-directories of a Directory: field, name, digest."""
    for number, value in _fields(directory, path):
        if number not in {_FILES, _DIRECTORIES} or not isinstance(value, bytes):
            continue
        node = dict(_fields(value, path))
        name, digest = node.get(_NAME), node.get(_DIGEST)
        if not isinstance(name, bytes) or not isinstance(digest, bytes):
            raise _damaged(path)
        yield number, name, _digest(digest, path)


def _digest(message: bytes, path: str) -> Digest:
    """A Digest message, or a record that reads as one. Checked: it becomes a path."""
    fields = dict(_fields(message, path))
    held, size_bytes = fields.get(_HASH), fields.get(_SIZE, 0)
    if not isinstance(held, bytes) or not isinstance(size_bytes, int):
        raise _damaged(path)
    try:
        return Digest.checked(held.decode("ascii", "replace"), size_bytes, where=path)
    except InvalidRequest:
        raise _damaged(path) from None


def _object(layout: Layout, digest: Digest) -> bytes | None:
    """The bytes of a stored message; None when it is not here."""
    if digest == EMPTY:
        return b""
    path = layout.object(digest.hash)
    data = _read(path)
    if data is not None and len(data) != digest.size_bytes:
        raise _other_size(path, digest)
    return data


def _is_stored(layout: Layout, digest: Digest) -> bool:
    if digest == EMPTY:
        return True
    path = layout.object(digest.hash)
    there = _status(path)
    if there is not None and there.st_size != digest.size_bytes:
        raise _other_size(path, digest)
    return there is not None


def _other_size(path: str, digest: Digest) -> DigestMismatch:
    return DigestMismatch(f"the object has not the {digest.size_bytes} bytes of its digest", path)


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
    """The bytes of a file, which do not become younger by that."""
    try:
        with open(path, "rb", opener=_without_age) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as trouble:
        if trouble.errno in _NO_FILE:
            raise _damaged(path) from trouble
        raise _failure(trouble, path) from trouble


def _without_age(path: str, flags: int) -> int:
    """Follows no link, and does not wait for whoever would write into a pipe."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # another user's file
        return os.open(path, flags)


class _NoRecord(VolumeFailed):
    """As VolumeFailed: there is a file, and the disk is well, but it does not read as what it should be."""

    def to_json(self) -> dict[str, object]:
        """As the class that other programs know."""
        return {**super().to_json(), "error": VolumeFailed.__name__}


def _damaged(path: str) -> VolumeFailed:
    return _NoRecord(
        "a file is not what it should be",
        path,
        "`caskeeper verify --repair` fetches it anew, or drops it",
    )


def _failure(trouble: OSError, path: str) -> PermissionDenied | VolumeFailed:
    """I10: trouble is never a miss."""
    kind = PermissionDenied if isinstance(trouble, PermissionError) else VolumeFailed
    return kind(trouble.strerror or str(trouble), path)
