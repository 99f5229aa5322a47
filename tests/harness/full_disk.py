"""A disk that fails at a change of the volume, by injection: full or broken, and the system call says so.

A disk is asked before each change. When it is to fail it does not raise: the next system call of the
same thread does, as it would on a real disk, a write half-way through its bytes. So what the store does
between the call and its own error is under test too.
"""

from __future__ import annotations

import errno
import os
import threading

NEVER = 10**9
_armed = threading.local()


class FailingDisk:
    """Fails at change number ``at``, and from then on unless ``once``; ``changes`` counts them."""

    #: what the system call says
    number = errno.EIO
    #: what succeeds all the same
    spared = frozenset()

    def __init__(self, at=NEVER, *, once=False):
        self.at = at
        self.once = once
        self.changes = 0
        self.failed = 0
        self._guard = threading.Lock()

    def change(self, verb, *_paths):
        with self._guard:
            self.changes += 1
            fails = self.changes == self.at if self.once else self.changes >= self.at
            fails = fails and (self.once or verb not in self.spared)
            self.failed += fails
            # Of a whole file every second one can be made and not be written.
            _armed.calls = _calls_of(verb, half=bool(self.changes % 2)) if fails else ()
            _armed.number = self.number


class FullDisk(FailingDisk):
    """Without room; what makes room succeeds, as it is to be expected of a file system that is full."""

    number = errno.ENOSPC
    spared = frozenset({"unlink", "remove_folder"})


class NoLinks(FailingDisk):
    """Has no hard links: whoever wants one is refused, as some network and overlay file systems do."""

    number = errno.EPERM

    def change(self, verb, *_paths):
        super().change(verb)
        _armed.calls = ("link",) if verb == "link" else ()
        _armed.number = self.number


def _calls_of(verb, *, half):
    """The system calls of which the first one fails."""
    if verb == "stage" and half:
        return ("write",)
    if verb == "stage":
        return ("open",)
    return (
        "open",
        "write",
        "pwrite",
        "mkdir",
        "rename",
        "link",
        "symlink",
        "unlink",
        "rmdir",
        "chmod",
        "own",
    )


def _fail_if_armed(call, path):
    if call in getattr(_armed, "calls", ()):
        _armed.calls = ()
        raise OSError(_armed.number, os.strerror(_armed.number), path)


class _FullOs:
    """Stands where a module of the store has ``os``."""

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags, *more, **options):
        if flags & os.O_CREAT:
            _fail_if_armed("open", path)
        return os.open(path, flags, *more, **options)

    def write(self, fd, data):
        if "write" in getattr(_armed, "calls", ()):
            os.write(fd, memoryview(data)[: len(data) // 2])
        _fail_if_armed("write", "")
        return os.write(fd, data)

    def pwrite(self, fd, data, offset):
        _fail_if_armed("pwrite", "")
        return os.pwrite(fd, data, offset)


def _failing(name):
    call = getattr(os, name)

    def call_or_fail(_self, path, *more, **options):
        _fail_if_armed(name, path)
        return call(path, *more, **options)

    return call_or_fail


for _name in ("mkdir", "rename", "link", "symlink", "unlink", "rmdir", "chmod"):
    setattr(_FullOs, _name, _failing(_name))


def can_fail(monkeypatch):
    """From here on a disk makes system calls fail."""
    from worker.store import system_calls

    for module in ("volume", "staged_file"):
        monkeypatch.setattr(f"worker.store.{module}.os", _FullOs())
    for name in ("touch", "settle_times", "rename_noreplace", "syncfs"):
        monkeypatch.setattr(system_calls, name, _own(getattr(system_calls, name)))


def _own(call):
    def call_or_fail(first, *more):
        _fail_if_armed("own", str(first))
        return call(first, *more)

    return call_or_fail
