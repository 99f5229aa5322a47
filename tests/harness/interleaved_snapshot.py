"""A small folder as it was at one moment, set back as often as needed: content, modes, times, links."""

from __future__ import annotations

import os
import stat

from harness.interleaved_account import COUNTED
from harness.interleaved_actors import real

#: Setting back more would cost more than the runs.
MOST_FOLDERS = 200


class Snapshot:
    """Of the folder ``root``."""

    def __init__(self, root):
        self._root = root
        self._folders, self._files = [], []
        places = {}
        for above, _folders, files in os.walk(root):
            short = above[len(root) :]
            self._folders.append(short)
            for name in files:
                path, place = f"{above}/{name}", f"{short}/{name}"
                there = os.lstat(path)
                if there.st_ino in places:
                    self._files.append((place, places[there.st_ino], None, None))
                    continue
                places[there.st_ino] = place
                if stat.S_ISLNK(there.st_mode):
                    self._files.append((place, None, None, os.readlink(path)))
                    continue
                with open(path, "rb") as file:
                    self._files.append((place, None, there, file.read()))
        assert len(self._folders) < MOST_FOLDERS, "the state is too large to be set back often"

    def restore(self):
        """Everything is as it was; the files that count: {inode: [charged bytes, names]}."""
        _clear(self._root)
        for short in self._folders[1:]:
            os.mkdir(self._root + short)
        counted = {}
        for short, linked, there, data in self._files:
            path = self._root + short
            if linked is not None:
                os.link(self._root + linked, path)
            elif there is None:
                os.symlink(data, path)
            else:
                inode = _write(path, there, data)
                if short[1:].partition("/")[0] in COUNTED:
                    counted[inode] = [-(-len(data) // 4096) * 4096, there.st_nlink]
        return counted


def _write(path, there, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, data)
        os.fchmod(fd, stat.S_IMODE(there.st_mode))
        os.utime(fd, ns=(there.st_atime_ns, there.st_mtime_ns))
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _clear(folder):
    with real.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            _clear(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
