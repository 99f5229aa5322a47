"""Paths in requests are the worker's, and only those under the configured ``roots`` are accepted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence


def below_roots(path: str, roots: Sequence[str], *, where: str) -> str:
    """``path`` with every symbolic link resolved. Raises InvalidRequest unless it lies under a root.

    What is not there yet counts by where it would be.
    """
    if not path or "\0" in path:
        raise InvalidRequest(f"{path!r:.100} is not a path", f"argument {where}")
    if not os.path.isabs(path):
        raise InvalidRequest(
            f"{path[:200]!r} is relative, and to what is not known here",
            f"argument {where}",
            "give the whole path, as the worker sees it",
        )
    real = os.path.realpath(path)
    for root in roots:
        if contains(os.path.realpath(root), real):
            return real
    raise InvalidRequest(
        f"{path[:200]!r} is outside of what this worker may touch",
        f"argument {where}",
        f"use a path under {' or '.join(roots) or 'one of the roots'}, or add its folder to `roots`",
    )


#: What only this program may fill, and what nobody stores.
_OWN = ("cas", "tmp", "trash", "extract", "pins", "run")


def is_own(cachedir: str, path: str) -> bool:
    """Whether the real ``path`` is a folder of the cache's own, or lies in one."""
    real = os.path.realpath(cachedir)
    return any(contains(f"{real}/{own}", path) for own in _OWN)


def contains(folder: str, path: str) -> bool:
    """Whether ``path`` is ``folder`` or lies in it; both are real paths."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
