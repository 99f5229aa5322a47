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
from worker.store.whole import refuse_broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.store.volume import Volume


def used_bytes(volume: Volume) -> int:
    """The sum; exact when nothing runs. What vanishes meanwhile is fine, any other trouble is raised.

    VolumeFailed when a folder that every volume has is a link or not there: what is out of reach must not
    count as nothing, nor what lies elsewhere as ours (I9).
    """
    layout = volume.layout
    refuse_broken(layout)
    cas = f"{layout.root}/cas"
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
