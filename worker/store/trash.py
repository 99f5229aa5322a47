"""One cleanup's trash folder: every removal goes through it, and moving it away stops its owner for good.

The folder is the cleanup's fence (safety.md section 2): all removals are one rename by full path into it,
so a cleanup that was paused while another took over finds the folder gone (LeaseLost) and has changed
nothing meanwhile. Names inside are flat: a letter for the kind, then what is needed to put it back.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.errors import Busy, InvalidRequest, LeaseLost
from worker.store.failures import failure

if TYPE_CHECKING:
    from worker.store.volume import Volume

#: What the first letter of a name in a trash folder says.
OBJECT, EXECUTABLE, CLOSURE, REF, FOLDER = "o-", "x-", "c-", "r-", "e-"
#: What stood in the place of something of ours and is none: never deleted, but put aside.
STRANGE = "s-"
#: Separates the parts of a ref in a name: not allowed in any of them.
_SEPARATOR = "%"
_NAME_BYTES = 250
#: How often a file that stands in the way of one that is put back is made young.
_LOOKS = 200
_MOMENT_S = 0.005


class Trash:
    """The folder of the cleanup ``cleanup_id``. ``start_ns`` is its time when made: the volume's clock."""

    def __init__(self, volume: Volume, cleanup_id: str) -> None:
        self.volume = volume
        self.id = cleanup_id
        self.folder = volume.layout.trash(cleanup_id)
        self.start_ns = 0
        self._serial = 0

    def begin(self) -> None:
        """Make the folder; its time is the cleanup's start. LeaseLost: another one fenced it at once."""
        self.volume.make_folder(self.folder)
        self.start_ns = self._status().st_mtime_ns

    def clock_went_on(self) -> None:
        """Raises Busy when the volume's clock is behind this cleanup's start (safety.md section 5)."""
        # By a touch and not by a new file: there may be no inode left for one.
        if not self.volume.touch(self.folder):
            raise LeaseLost("another cleanup has taken over", self.folder)
        if self._status().st_atime_ns < self.start_ns:
            raise Busy("the volume's clock went back during a cleanup", self.folder)

    def _status(self) -> os.stat_result:
        try:
            return os.stat(self.folder)
        except FileNotFoundError:
            raise LeaseLost("another cleanup has taken over", self.folder) from None
        except OSError as error:
            raise failure(error, self.folder) from error

    def place(self, prefix: str, name: str) -> str:
        """The path in this trash of a thing to be taken."""
        return f"{self.folder}/{prefix}{name}"

    def fresh(self) -> str:
        """The path of a folder to be deleted; its name says nothing, for it is never put back."""
        self._serial += 1
        return f"{self.folder}/{FOLDER}{self._serial}"

    def end(self) -> None:
        """Remove the emptied folder; silent when it was moved away."""
        self.volume.remove_folder(self.folder)


def put_back_or_refresh(volume: Volume, taken: str, place: str) -> bool:
    """Put back what somebody relies on. False: something else stands there, and ours may go.

    What stands there may be older than ours: staged before ours was touched, published since. Who relies on
    ours relies on the name, so that one is made as young first, by a touch and a look at the *path*, for a
    touch may land on a file that was just taken away. Raises Busy when the volume's clock stays behind, and
    LeaseLost.
    """
    for look in range(_LOOKS):
        if volume.put_back(taken, place):
            return True
        ours_ns, there_ns = _age_ns(taken), _age_ns(place)
        if ours_ns is None:
            return False  # a reader has found it in the trash and put it back itself
        if there_ns is not None:
            if there_ns >= ours_ns:
                return False
            volume.touch(place)
            if look:
                time.sleep(_MOMENT_S)
    raise Busy("the volume's clock went back during a cleanup", place)


def _age_ns(path: str) -> int | None:
    try:
        return os.lstat(path).st_atime_ns
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failure(error, path) from error


def aside(volume: Volume, path: str) -> str:
    """Move a thing that is not ours out of a trash folder to ``damaged/``; where it lies now."""
    place = f"{volume.layout.root}/damaged/{os.path.basename(path).removeprefix(STRANGE)}"
    number = 1
    target = place
    while not volume.put_back(path, target):
        if not os.path.lexists(path):
            break  # another one was faster
        number += 1
        target = f"{place}.{number}"
    return target


def ref_name(ref: Ref) -> str:
    """A ref as one file name. A ref too long for that keeps only a hash: its record says its name."""
    name = _SEPARATOR.join(ref)
    if len(name) <= _NAME_BYTES:
        return name
    return hashlib.sha256(name.encode()).hexdigest()


def ref_of(name: str) -> Ref | None:
    """The ref that ``ref_name`` wrote; None when only the record can tell."""
    parts = name.split(_SEPARATOR)
    if len(parts) != 3:
        return None
    try:
        return Ref.of(*parts)
    except InvalidRequest:
        return None


def delete_tree(volume: Volume, path: str) -> int:
    """Delete a folder that nothing names any more. Returns the charged bytes that became free.

    Links are removed, not followed, also one that stands in the folder's place. Entries that vanish
    meanwhile are fine. A folder that a late owner still adds to is emptied again until ``rmdir`` succeeds:
    then its fence is complete.
    """
    if os.path.islink(path):
        return unlink(volume, path)  # what it leads to is not ours
    open_up(volume, path)
    freed = 0
    while True:
        try:
            entries = list(os.scandir(path))
        except FileNotFoundError:
            return freed
        except NotADirectoryError:
            return freed + unlink(volume, path)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                freed += delete_tree(volume, entry.path)
            else:
                freed += unlink(volume, entry.path)
        if volume.remove_folder(path):
            return freed


def open_up(volume: Volume, path: str) -> None:
    """Make a folder writable that somebody made read-only: else it could not be moved nor emptied (AC-51)."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        volume.chmod(path, stat.S_IRWXU)


def unlink(volume: Volume, path: str, *, was: os.stat_result | None = None) -> int:
    """Unlink one file; its charged bytes when this was the last name of it, else 0. ``was``: as there.

    Symbolic links were never counted as used (``worker.store.measure``), so they give nothing back.
    """
    gone = volume.unlink(path, was=was)
    if gone is None or gone.st_nlink != 1 or not stat.S_ISREG(gone.st_mode):
        return 0
    return volume.charge(gone.st_size)
