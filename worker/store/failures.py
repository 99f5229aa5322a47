"""The one table from the operating system's errors to ours (I10: trouble is never a miss)."""

from __future__ import annotations

import errno
import os

from caskeeper.errors import CaskeeperError, InvalidRequest, NoSpace, PermissionDenied, VolumeFailed

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failure(error: OSError, path: str) -> CaskeeperError:
    """What to raise for ``error`` at ``path``.

    A full disk or an exhausted disk quota is NoSpace, a refusal PermissionDenied, a path that the system
    does not take InvalidRequest (it stays too long), everything else VolumeFailed. What is normal for a
    caller (ENOENT, EEXIST, …) is sorted out before it comes here.
    """
    number = error.errno or errno.EIO
    sentence = os.strerror(number)
    if number in _FULL:
        return NoSpace(sentence, path)
    if number in _REFUSED:
        return PermissionDenied(sentence, path)
    if number == errno.ENAMETOOLONG:
        return InvalidRequest(
            "a path below it is too long for the system", path[:400], "extract with `--to` a short path"
        )
    return VolumeFailed(sentence, path)
