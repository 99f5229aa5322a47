"""The system calls that Python's ``os`` lacks or offers only in part.

Each raises OSError like ``os`` does. The GIL is released while the kernel works.
"""

from __future__ import annotations

import ctypes
import errno
import os
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
#: age = now by the volume's clock, modification time as it is
_YOUNG = _Times(_Timespec(0, _UTIME_NOW), _Timespec(0, _UTIME_OMIT))
#: age = now by the volume's clock, modification time = the constant
_PUBLISHED = _Times(_Timespec(0, _UTIME_NOW), _Timespec(MTIME_S, 0))
#: age as it is, modification time = the constant
_SETTLED = _Times(_Timespec(0, _UTIME_OMIT), _Timespec(MTIME_S, 0))

_libc = ctypes.CDLL(None, use_errno=True)


def _bound(name: str, *argtypes: Any) -> Any:
    call = getattr(_libc, name, None)
    if call is not None:
        call.argtypes = argtypes
        call.restype = ctypes.c_int
    return call


_utimensat = _bound("utimensat", ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_Times), ctypes.c_int)
_futimens = _bound("futimens", ctypes.c_int, ctypes.POINTER(_Times))
_syncfs = _bound("syncfs", ctypes.c_int)
_readlink = _bound("readlink", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_renameat2 = _bound("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

#: Whether the C library knows renameat2; whether a file system does is seen when it is called.
HAS_RENAMEAT2 = _renameat2 is not None


def _failed(*paths: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), *paths)


def touch(path: str) -> None:
    """Make ``path`` young: age = now, applied and timed by the kernel, never an explicit age.

    A symbolic link itself: what it leads to is not ours.
    """
    if _utimensat(_AT_FDCWD, os.fsencode(path), _YOUNG, _AT_SYMLINK_NOFOLLOW):
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
    if _renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
        raise _failed(source)


def what_stands(path: str) -> str | None:
    """Where a symbolic link leads to; "" for everything else that is there, None for nothing.

    One call, and no exception for what is the rule, as ``os.readlink`` has it. Other trouble is raised.
    """
    buffer = ctypes.create_string_buffer(1024)
    length = _readlink(os.fsencode(path), buffer, len(buffer))
    if length >= 0:
        return os.fsdecode(buffer.raw[:length])
    number = ctypes.get_errno()
    if number == errno.EINVAL:
        return ""
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return None
    raise _failed(path)


def process_umask() -> int:
    """The umask without changing it: ``os.umask`` would, for every thread."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777  # unknown: every mode is then set explicitly


def syncfs(fd: int, path: str) -> None:
    """Everything written to the file system of ``fd`` so far is on the disk."""
    if _syncfs(fd):
        raise _failed(path)
