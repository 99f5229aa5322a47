"""The system calls that Python's ``os`` lacks or offers only in part.

Each raises OSError like ``os`` does. The GIL is released while the kernel works.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Any

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_RENAME_NOREPLACE = 1
_UTIME_NOW = (1 << 30) - 1
_UTIME_OMIT = (1 << 30) - 2

#: The modification time of everything that is published, in seconds (safety.md section 2).
MTIME_S = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


_Times = _Timespec * 2


def _times(age_ns: int, mtime_s: int, mtime_ns: int) -> Any:
    """As the calls below take it: made once, for making it costs as much as a call."""
    return ctypes.byref(_Times(_Timespec(0, age_ns), _Timespec(mtime_s, mtime_ns)))


#: age = now by the volume's clock, modification time as it is
_YOUNG = _times(_UTIME_NOW, 0, _UTIME_OMIT)
#: age = now by the volume's clock, modification time = the constant
_PUBLISHED = _times(_UTIME_NOW, MTIME_S, 0)
#: age as it is, modification time = the constant
_SETTLED = _times(_UTIME_OMIT, MTIME_S, 0)

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_libc = ctypes.CDLL(None, use_errno=True)


def _bound(name: str, result: Any = ctypes.c_int) -> Any:
    """Without the types of its arguments, which ctypes would check in every call.

    Each of them is an int of C's, bytes or a pointer already.
    """
    call = getattr(_libc, name, None)
    if call is not None:
        call.restype = result
    return call


_utimensat = _bound("utimensat")
_futimens = _bound("futimens")
_syncfs = _bound("syncfs")
_readlink = _bound("readlink", ctypes.c_ssize_t)
_renameat2 = _bound("renameat2")

#: What nobody reads may be written by several threads at once.
_ONE_BYTE = ctypes.create_string_buffer(1)

#: Whether the C library knows renameat2; whether a file system does is seen when it is called.
HAS_RENAMEAT2 = _renameat2 is not None


def _failed(*paths: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), *paths)


def touch(path: str) -> bool:
    """Make ``path`` young: age = now, applied and timed by the kernel, never an explicit age.

    A symbolic link itself: what it leads to is not ours. False, and no exception, for what is not there:
    that is the rule for what a commit is about to write.
    """
    if not _utimensat(_AT_FDCWD, path.encode(_ENCODING, _ERRORS), _YOUNG, _AT_SYMLINK_NOFOLLOW):
        return True
    if ctypes.get_errno() == errno.ENOENT:
        return False
    raise _failed(path)


def settle_times(path: str) -> None:
    """Give ``path`` the constant modification time and leave its age alone."""
    if _utimensat(_AT_FDCWD, os.fsencode(path), _SETTLED, 0):
        raise _failed(path)


def stamp(fd: int, path: str) -> None:
    """Age = now and the constant modification time, for an open file."""
    if _futimens(fd, _PUBLISHED):
        raise _failed(path)


def rename_noreplace(source: str, target: str) -> None:
    """Rename by full path unless ``target`` exists (EEXIST). EINVAL: the file system cannot."""
    old, new = source.encode(_ENCODING, _ERRORS), target.encode(_ENCODING, _ERRORS)
    if _renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE):
        raise _failed(source)


def what_stands(path: str) -> str | None:
    """Where a symbolic link leads to; "" for everything else that is there, None for nothing.

    One call, and no exception for what is the rule, as ``os.readlink`` has it. Other trouble is raised.
    """
    name = path.encode(_ENCODING, _ERRORS)
    if _readlink(name, _ONE_BYTE, 1) < 0:  # whether, and not where to
        number = ctypes.get_errno()
        if number == errno.EINVAL:
            return ""
        if number in {errno.ENOENT, errno.ENOTDIR}:
            return None
        raise _failed(path)
    buffer = ctypes.create_string_buffer(1024)
    length = _readlink(name, buffer, ctypes.c_size_t(len(buffer)))
    if length < 0:
        raise _failed(path)
    return os.fsdecode(buffer.raw[:length])


def known_umask() -> int | None:
    """The umask without changing it: ``os.umask`` would, for every thread. None: it cannot be said."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return None


def process_umask() -> int:
    """The umask; 0o777 where it cannot be said: every mode is then set explicitly."""
    known = known_umask()
    return 0o777 if known is None else known


def syncfs(fd: int, path: str) -> None:
    """Everything written to the file system of ``fd`` so far is on the disk."""
    if _syncfs(fd):
        raise _failed(path)
