"""Root without the right to pass over permissions, for a while: what nobody else may read cannot be read."""

import ctypes
import os
from contextlib import contextmanager

_VERSION_3 = 0x20080522
#: dac_override, dac_read_search
_PASSES_OVER = 1 << 1 | 1 << 2
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_Both = _Sets * 2


def _call(function, sets):
    header = _Header(_VERSION_3, 0)
    if function(ctypes.byref(header), ctypes.byref(sets)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def plain_user():
    """This thread, and the threads that it starts, obey permissions; then as before."""
    sets = _Both()
    _call(_libc.capget, sets)
    before = sets[0].effective
    sets[0].effective = before & ~_PASSES_OVER
    _call(_libc.capset, sets)
    try:
        yield
    finally:
        sets[0].effective = before
        _call(_libc.capset, sets)
