"""Content that is not here as its name says, told apart in one place from a request that names it wrongly.

A request may claim another size than the object of its hash has: that is the caller's fault, and nothing is
done about the object. A stored file whose bytes are not its hash's is *damaged*, whatever the request said.
Both are DigestMismatch to a client; only the second is healed (worker.services.healing).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.digest import Digest, Hasher
from caskeeper.errors import BlobMissing, CaskeeperError, DigestMismatch
from worker.protocols import CHUNK_BYTES
from worker.store.failures import failure
from worker.store.format import without_age

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPAIR = "`caskeeper verify --repair` takes it away and fetches it anew, or drops what needs it"
#: So many files are remembered as good, whatever sizes are claimed for them.
_REMEMBERED = 4096


class ObjectDamaged(DigestMismatch):
    """The stored file of ``digest`` has other bytes, or is no file."""

    def __init__(self, what: str, where: str = "", way_out: str = "", digest: Digest | None = None) -> None:
        super().__init__(what, where, way_out)
        self.digest = digest

    def to_json(self) -> dict[str, object]:
        """As the class that other programs know."""
        return {**super().to_json(), "error": DigestMismatch.__name__}


class ObjectMissing(BlobMissing):
    """The store has no file of ``digest``, and no cleanup holds it either."""

    def __init__(self, what: str, where: str = "", way_out: str = "", digest: Digest | None = None) -> None:
        super().__init__(what, where, way_out)
        self.digest = digest

    def to_json(self) -> dict[str, object]:
        """As the class that other programs know."""
        return {**super().to_json(), "error": BlobMissing.__name__}


def damaged(digest: Digest, path: str) -> ObjectDamaged:
    """The error for a stored file whose bytes are not its digest's."""
    return ObjectDamaged(f"the stored file of {digest} is damaged", path, _REPAIR, digest)


def missing(digest: Digest, where: str) -> ObjectMissing:
    """The error for content of the store that is gone."""
    return ObjectMissing(str(digest), where, "", digest)


def trouble_of(error: BaseException | None) -> ObjectDamaged | ObjectMissing | None:
    """What is wrong with the store behind an error; None: nothing that can be healed is."""
    while error is not None:
        if isinstance(error, (ObjectDamaged, ObjectMissing)) and error.digest is not None:
            return error
        error = error.__cause__
    return None


class Verdict(Enum):
    """What stands under the name of a hash."""

    GOOD = "good"
    DAMAGED = "damaged"
    GONE = "gone"


class Look(NamedTuple):
    """A verdict and the inode it is about; as long as the look lasts, no other file gets its number."""

    verdict: Verdict
    status: os.stat_result | None

    def is_about(self, status: os.stat_result) -> bool:
        """Whether ``status`` is the same inode's."""
        mine = self.status
        return mine is not None and (mine.st_dev, mine.st_ino) == (status.st_dev, status.st_ino)


def hash_of(fd: int, path: str, *, check: Callable[[], None] = lambda: None) -> Digest:
    """The digest of everything from the present position of ``fd`` on. ``check`` raises to stop it."""
    hasher, size_bytes = Hasher(), 0
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        while count := os.readv(fd, [buffer]):
            hasher.update(view[:count])
            size_bytes += count
            check()
    except OSError as error:
        raise failure(error, path) from error
    return Digest(hasher.hexdigest(), size_bytes)


@contextmanager
def looked_at(path: str, hash_hex: str, *, check: Callable[[], None] = lambda: None) -> Iterator[Look]:
    """Hash what stands at ``path``, without making it younger. VolumeFailed, PermissionDenied."""
    try:
        fd = without_age(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        yield _unopened(error, path)
        return
    try:
        yield _judged(fd, path, hash_hex, check)
    finally:
        os.close(fd)


def examine(path: str, hash_hex: str, *, check: Callable[[], None] = lambda: None) -> Look:
    """As ``looked_at``, for whoever does not act on it."""
    with looked_at(path, hash_hex, check=check) as look:
        return look


def _unopened(error: OSError, path: str) -> Look:
    if error.errno == errno.ENOENT:
        return Look(Verdict.GONE, None)
    if error.errno not in {errno.ELOOP, errno.ENXIO}:
        raise failure(error, path) from error
    try:
        return Look(Verdict.DAMAGED, os.lstat(path))  # a link, or a socket
    except FileNotFoundError:
        return Look(Verdict.GONE, None)
    except OSError as trouble:
        raise failure(trouble, path) from trouble


def _judged(fd: int, path: str, hash_hex: str, check: Callable[[], None]) -> Look:
    try:
        status = os.fstat(fd)
    except OSError as error:
        raise failure(error, path) from error
    good = stat.S_ISREG(status.st_mode) and hash_of(fd, path, check=check).hash == hash_hex
    return Look(Verdict.GOOD if good else Verdict.DAMAGED, status)


class _GoodFiles:
    """Inodes that were hashed and found good: a client that claims 65,536 sizes has one of them hashed once.

    Only *other* sizes are answered from here, so a file that was damaged since is not taken for good.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[tuple[str, int, int, int], None] = OrderedDict()

    def __contains__(self, key: tuple[str, int, int, int]) -> bool:
        with self._guard:
            return key in self._known

    def add(self, key: tuple[str, int, int, int]) -> None:
        with self._guard:
            self._known[key] = None
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


_good = _GoodFiles()


def wrong_size(digest: Digest, path: str) -> CaskeeperError | None:
    """What to raise where the file at ``path`` is not as long as ``digest`` says, or is none.

    None: it is another one by now; look again.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error
    key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _good:
        verdict, found = examine(path, digest.hash)
        if verdict is Verdict.GONE or found is None:
            return None
        if verdict is Verdict.DAMAGED:
            return damaged(digest, path)
        _good.add((path, found.st_ino, found.st_size, found.st_mtime_ns))
        status = found
    if status.st_size == digest.size_bytes:
        return None
    return DigestMismatch(f"{digest} claims another size than the {status.st_size} bytes it names")
