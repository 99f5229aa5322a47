"""What is on the disk at every step, and the error for a promise that does not hold."""

from __future__ import annotations

import stat

from harness.interleaved_actors import real

#: What counts as used (interface section 4).
COUNTED = ("cas", "tmp", "trash", "extract")


class Violation(AssertionError):
    """What safety.md promises does not hold."""


class Account:
    """What is on the disk, kept step by step: every regular file that is named below the counted folders."""

    def __init__(self, site):
        self._site = site
        self._root = site.layout.root
        self._counted = tuple(f"{self._root}/{name}/" for name in COUNTED)
        self.reset({})

    def reset(self, files):
        """``files``: {inode: [charged bytes, names]}."""
        self._files = {inode: list(entry) for inode, entry in files.items()}
        self.actual_bytes = sum(entry[0] for entry in files.values())
        self._growing = None

    def inode(self, path):
        try:
            return real.lstat(path).st_ino
        except FileNotFoundError:
            return None

    def appears(self, path):
        if not path.startswith(self._counted):
            return
        try:
            there = real.lstat(path)
        except FileNotFoundError:
            return
        if stat.S_ISREG(there.st_mode):
            entry = self._files.setdefault(there.st_ino, [0, 0])
            entry[1] += 1
            self._resize(entry, there.st_size)

    def grows(self, path):
        """The file is about to be written to: it is looked at when that was done."""
        self._growing = path

    def look_again(self):
        path, self._growing = self._growing, None
        try:
            there = real.lstat(path)
        except FileNotFoundError:
            return
        if there.st_ino in self._files:
            self._resize(self._files[there.st_ino], there.st_size)

    def _resize(self, entry, size_bytes):
        charged = -(-size_bytes // 4096) * 4096
        self.actual_bytes += charged - entry[0]
        entry[0] = charged
        self._site.check_size()

    def loses_name(self, inode):
        entry = self._files.get(inode)
        if entry is not None:
            entry[1] -= 1
            if not entry[1]:
                self.actual_bytes -= entry[0]
                del self._files[inode]
