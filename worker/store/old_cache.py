"""Somebody else's cache folder of BuildStream 1.x, which is only read: not even its ages change.

Promises: nothing outside of it is reached through links in it, and what cannot be read there is never an
error of the volume. What it hands out is not verified, but for Directory messages: the sink hashes (I1).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.artifact import Ref
from caskeeper.digest import EMPTY, Digest, Hasher
from caskeeper.errors import BlobMissing, CaskeeperError, DigestMismatch, InvalidRequest, PermissionDenied
from caskeeper.layout import Layout
from worker.directory import Directory, check_size, parse
from worker.protocols import CHUNK_BYTES
from worker.store.blobs import BATCH_LIMIT_BYTES
from worker.store.format import without_age
from worker.store.refs import MAX_RECORD_BYTES, decode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class OldRef(NamedTuple):
    """One name there; ``used_ns`` is its last use by the reckoning of BuildStream 1.x (AC-49)."""

    ref: Ref
    root: Digest
    used_ns: int


class Stranger(NamedTuple):
    """A file among the refs that is none, and why."""

    path: str
    reason: str


class OldCache:
    """The folder at ``root``; a BlobAccess that is never written to."""

    batch_limit_bytes = BATCH_LIMIT_BYTES

    def __init__(self, root: str) -> None:
        """Raises InvalidRequest for a folder of another kind."""
        self.layout = Layout(root)
        if os.path.lexists(self.layout.format):
            raise InvalidRequest(
                "it is a volume of caskeeper's own",
                root,
                "serve it with `caskeeper server`, and pull or push",
            )
        if not (os.path.isdir(self.layout.refs) and os.path.isdir(self.layout.objects)):
            inner = f"{root}/artifacts"
            way_out = "name the folder that holds `cas/refs/heads` and `cas/objects`"
            if os.path.isdir(f"{inner}/cas"):
                way_out += f": here {inner}"
            raise InvalidRequest("it is no cache folder of BuildStream 1.x", root, way_out)

    def refs(self) -> tuple[list[OldRef], list[Stranger]]:
        """Every ref, least recently used first, and what cannot be read as one."""
        found: list[OldRef] = []
        strangers: list[Stranger] = []
        for folder, _folders, names in os.walk(self.layout.refs, onerror=_raise):
            for name in names:
                path = f"{folder}/{name}"
                try:
                    found.append(self._ref(path))
                except CaskeeperError as error:
                    short = os.fsencode(path[len(self.layout.refs) + 1 :]).decode("utf-8", "backslashreplace")
                    strangers.append(Stranger(short, error.what))
        found.sort(key=lambda one: (one.used_ns, one.ref))
        return found, sorted(strangers)

    def _ref(self, path: str) -> OldRef:
        parts = path[len(self.layout.refs) + 1 :].split("/")
        if len(parts) != 3:
            raise InvalidRequest("its path has not the three parts of a ref", path)
        ref = Ref.of(parts[0], f"{parts[1]}.bst", parts[2], where=path)
        fd = _open(path)
        try:
            data, used_ns = os.read(fd, MAX_RECORD_BYTES), os.fstat(fd).st_mtime_ns
        except OSError as error:
            raise _unreadable(error, path) from None
        finally:
            os.close(fd)
        record = decode(data)
        if record is None or record.kind or record.serial:
            raise InvalidRequest("it is no ref of BuildStream 1.x", path)
        return OldRef(ref, record.root, used_ns)

    def stat(self, hash_hex: str) -> os.stat_result | None:
        """The file of an object, or None."""
        path = self.layout.object(hash_hex)
        try:
            there = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(error, path) from None
        return there if stat.S_ISREG(there.st_mode) else None

    def directory(self, digest: Digest) -> Directory:
        """The Directory message of this digest, verified. BlobMissing, DigestMismatch, InvalidRequest."""
        if digest == EMPTY:
            return Directory()
        check_size(digest)
        data = b"".join(self.read_stream(digest))
        if Hasher(data).hexdigest() != digest.hash:
            raise DigestMismatch(f"the file of {digest} is damaged", self.layout.object(digest.hash))
        return parse(data, digest)

    # -- BlobAccess ------------------------------------------------------------------------------------

    def find_missing(self, digests: Collection[Digest]) -> set[Digest]:
        """Those without a file."""
        return {digest for digest in digests if digest != EMPTY and self.stat(digest.hash) is None}

    def read_batch(self, digests: Sequence[Digest]) -> list[tuple[Digest, bytes]]:
        """Small blobs, whole."""
        return [(digest, b"".join(self.read_stream(digest))) for digest in digests]

    def read_stream(self, digest: Digest) -> Iterator[bytes]:
        """One blob in pieces, never more than one byte too many. BlobMissing with the first piece."""
        if digest == EMPTY:
            return
        path = self.layout.object(digest.hash)
        fd = _open(path, missing=digest)
        try:
            left = digest.size_bytes + 1
            while left and (chunk := os.read(fd, min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
        except OSError as error:
            raise _unreadable(error, path) from None
        finally:
            os.close(fd)

    def write_batch(self, blobs: Sequence[tuple[Digest, bytes | memoryview]]) -> None:
        """Refused."""
        raise PermissionDenied("it is another program's, and only read", self.layout.root)

    def write_stream(self, digest: Digest, chunks: Iterable[bytes | memoryview]) -> None:
        """Refused."""
        raise PermissionDenied("it is another program's, and only read", self.layout.root)


def _open(path: str, *, missing: Digest | None = None) -> int:
    try:
        fd = without_age(path, _FILE)
    except (FileNotFoundError, NotADirectoryError):
        raise BlobMissing(str(missing or "it has vanished"), path) from None
    except OSError as error:
        raise _unreadable(error, path) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidRequest("it is no regular file", path)
    return fd


def _raise(error: OSError) -> None:
    raise _unreadable(error, str(error.filename)) from None


def _unreadable(error: OSError, path: str) -> InvalidRequest:
    """The folder is not the volume: what cannot be read there is the request's fault."""
    return InvalidRequest(
        f"it cannot be read: {error.strerror}", path, "make it readable for the user of the workers"
    )
