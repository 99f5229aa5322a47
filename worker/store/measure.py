"""What the store takes on the disk: the one function behind ``used`` (interface section 4).

Counted is every regular file named below ``cas/``, ``tmp/``, ``trash/`` and ``extract/`` once, however
many names it has there, rounded up to the block. Folders, symbolic links and unlinked open files are left
to the guard that asks the file system itself (I5).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from worker.store.failures import failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.store.volume import Volume


def used_bytes(volume: Volume) -> int:
    """The sum; exact when nothing runs. What vanishes meanwhile is fine, any other trouble is raised.

    VolumeFailed when there is no ``cas/``: a volume that is not there must not count as empty (I9).
    """
    layout = volume.layout
    cas = f"{layout.root}/cas"
    try:
        os.stat(cas)
    except OSError as error:
        raise failure(error, cas) from error
    total = 0
    twice: set[int] = set()
    for there in _regular_files([layout.extracts, layout.trashes, layout.staging, cas]):
        if there.st_nlink > 1:
            if there.st_ino in twice:
                continue
            twice.add(there.st_ino)
        total += volume.charge(there.st_size)
    return total


def _regular_files(folders: list[str]) -> Iterator[os.stat_result]:
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise failure(error, folder) from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                there = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(error, entry.path) from error
            if stat.S_ISREG(there.st_mode):
                yield there
