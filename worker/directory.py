"""Directory messages in their canonical form (local-cas section 4).

What is parsed here came from outside: from a peer, or from a volume that a peer filled. A value that
``parse`` returns can be laid out below a folder without leaving it.
"""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from caskeeper.digest import EMPTY, Digest
from caskeeper.errors import InvalidRequest
from worker._protos import remote_execution_pb2 as pb
from worker.wire_fields import has_more_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a POSIX file system takes as one name and as one link target.
MAX_NAME_BYTES = 255
MAX_TARGET_BYTES = 4095
#: One folder's message, and what may be in it; more is an attack on the memory.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_FOLDER_ENTRIES = 1_000_000
#: All messages of one tree, likewise.
MAX_TREE_BYTES = 512 * 1024 * 1024

_new = tuple.__new__
_by_name = attrgetter("name")


class FileEntry(NamedTuple):
    """A regular file; ``executable`` is the owner-execute bit."""

    name: str
    digest: Digest
    executable: bool = False


class DirectoryEntry(NamedTuple):
    """A sub-directory; ``digest`` is that of its Directory message."""

    name: str
    digest: Digest


class SymlinkEntry(NamedTuple):
    """A symbolic link; ``target`` is taken verbatim and may dangle."""

    name: str
    target: str


class Directory(NamedTuple):
    """One folder: three lists, each in ascending order of the names, all names distinct."""

    files: tuple[FileEntry, ...] = ()
    directories: tuple[DirectoryEntry, ...] = ()
    symlinks: tuple[SymlinkEntry, ...] = ()

    def directory(self, name: str) -> DirectoryEntry | None:
        """The sub-directory of that name."""
        return next((entry for entry in self.directories if entry.name == name), None)


def is_name(text: str) -> bool:
    """Whether ``text`` can be the name of an entry: one path segment, valid UTF-8."""
    if text in {"", ".", ".."} or "/" in text or "\0" in text:
        return False
    try:
        return len(text.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # a name that the file system gave and that is no UTF-8
        return False


def is_target(text: str) -> bool:
    """Whether ``text`` can be the target of a symbolic link: not empty, valid UTF-8."""
    try:
        return "\0" not in text and 0 < len(text.encode()) <= MAX_TARGET_BYTES
    except UnicodeEncodeError:
        return False


def check_size(digest: Digest) -> None:
    """Asked before a message is read into memory. Raises InvalidRequest when it is too large for one."""
    if digest.size_bytes > MAX_MESSAGE_BYTES:
        raise _invalid(digest, "it is too large for a Directory message")


def parse(data: bytes, digest: Digest) -> Directory:
    """The Directory that ``data`` is; ``digest`` names it in an error and is not computed again.

    Unknown fields (node_properties of newer peers) are tolerated. Raises InvalidRequest for names that
    are no single path segment, that repeat over the three lists or are not sorted, for malformed digests,
    for more than ``MAX_FOLDER_ENTRIES`` and for bytes that are no Directory at all.
    """
    if digest == EMPTY and not data:
        return Directory()
    if has_more_fields(data, MAX_FOLDER_ENTRIES):
        raise _invalid(
            digest, f"it is no Directory message, or one of more than {MAX_FOLDER_ENTRIES} entries"
        )
    try:
        message = pb.Directory.FromString(data)
    except DecodeError:
        raise _invalid(digest, "it is no Directory message") from None
    # The constructors of named tuples are functions in Python, and this runs for every file of every tree.
    files = tuple(
        [
            _new(
                FileEntry,
                (node.name, _new(Digest, ((d := node.digest).hash, d.size_bytes)), node.is_executable),
            )
            for node in message.files
        ]
    )
    directories = tuple(
        [
            _new(DirectoryEntry, (node.name, _new(Digest, ((d := node.digest).hash, d.size_bytes))))
            for node in message.directories
        ]
    )
    symlinks = tuple([SymlinkEntry(node.name, node.target) for node in message.symlinks])
    lists = [[entry[0] for entry in kind] for kind in (files, directories, symlinks) if kind]
    _check_names(lists, digest)
    _check_digests([entry[1] for kind in (files, directories) for entry in kind], digest)
    for link in symlinks:
        if not is_target(link.target):
            raise _invalid(digest, f"the target of the symbolic link {link.name!r} cannot be one")
    return Directory(files, directories, symlinks)


def serialise(directory: Directory) -> bytes:
    """The canonical bytes; the entries may come in any order. Names are the caller's responsibility."""
    message = pb.Directory()
    add_file, add_directory, add_symlink = message.files.add, message.directories.add, message.symlinks.add
    for name, (hash_hex, size_bytes), executable in sorted(directory.files, key=_by_name):
        node = add_file(name=name)
        held = node.digest
        held.hash = hash_hex
        held.size_bytes = size_bytes
        if executable:
            node.is_executable = True
    for name, (hash_hex, size_bytes) in sorted(directory.directories, key=_by_name):
        held = add_directory(name=name).digest
        held.hash = hash_hex
        held.size_bytes = size_bytes
    for name, target in sorted(directory.symlinks, key=_by_name):
        add_symlink(name=name, target=target)
    return message.SerializeToString()


def _check_names(lists: Sequence[list[str]], digest: Digest) -> None:
    # Lists are checked as wholes: one entry at a time would cost more than the parsing itself.
    names = lists[0] if len(lists) == 1 else [name for one in lists for name in one]
    if not names:
        return
    joined = "".join(names)
    lengths = {*map(len, names)}
    plain = joined.isascii() and "/" not in joined and "\0" not in joined and max(lengths) <= MAX_NAME_BYTES
    if not plain or min(lengths) < 3:  # else only '', '.' and '..' are left to find
        for name in names:
            if not is_name(name):
                raise _invalid(digest, f"{name[:300]!r} is not a name")
    if len({*names}) != len(names):
        raise _invalid(digest, "two entries have one name")
    for one in lists:
        if one != sorted(one):
            raise _invalid(digest, "its entries are not sorted by name")


def _check_digests(digests: Sequence[Digest], digest: Digest) -> None:
    hashes, sizes = [held[0] for held in digests], [held[1] for held in digests]
    joined = "".join(hashes)
    if {*map(len, hashes)} <= {64} and min(sizes, default=0) >= 0:
        with suppress(ValueError):
            # As many bytes as lower-case hex makes: so no white space in it, and no upper case.
            if 2 * len(bytes.fromhex(joined)) == len(joined) and joined.lower() == joined:
                return
    for held in digests:
        Digest.checked(*held, where=f"Directory {digest}")


def _invalid(digest: Digest, what: str) -> InvalidRequest:
    return InvalidRequest(what, f"Directory {digest}", "the sender is damaged or lying: use another remote")
