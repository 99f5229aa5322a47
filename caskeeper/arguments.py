"""What a caller gives, checked and brought into the form that travels: bad names die here, in the client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caskeeper.artifact import Ref
from caskeeper.digest import Digest
from caskeeper.errors import InvalidRequest
from caskeeper.layout import relative_subdir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caskeeper.config import Settings

_BUILDTREE = "buildtree"


def ref_argument(ref: Ref | str) -> str:
    """A ref as it is bound. Raises InvalidRequest."""
    return str(Ref.parse(str(ref)))


def refs_argument(refs: Sequence[Ref | str]) -> tuple[str, ...]:
    """Each once, at least one. Raises InvalidRequest."""
    if not refs:
        raise InvalidRequest("no ref is given", "argument REF", "name at least one PROJECT/ELEMENT/KEY")
    return tuple(dict.fromkeys(ref_argument(ref) for ref in refs))


def digest_argument(digest: Digest | str) -> str:
    """``HASH/SIZE``. Raises InvalidRequest."""
    return str(Digest.parse(str(digest), where="argument DIGEST"))


def remotes_argument(remotes: Sequence[str] | None) -> tuple[str, ...] | None:
    """As a worker understands them: credential files by whole paths. Raises InvalidRequest."""
    if remotes is None:
        return None
    from caskeeper.config.remote_arguments import absolute_remote_argument  # noqa: PLC0415 -- only who names one pays for it

    folder = os.getcwd()
    return tuple(absolute_remote_argument(text, folder=folder) for text in remotes)


def exclusions(settings: Settings, excluded: Sequence[str], *, subdir: str | None) -> tuple[str, ...]:
    """What a pull leaves out: what was asked for, and the build tree unless it is wanted."""
    found = list(dict.fromkeys(excluded))
    asked_for = subdir is not None and relative_subdir(subdir).split("/")[0] == _BUILDTREE
    if not settings.cache.pull_buildtrees and not asked_for and _BUILDTREE not in found:
        found.append(_BUILDTREE)
    return tuple(found)


def path_argument(settings: Settings, path: str | os.PathLike[str], argument: str) -> str:
    """An absolute path, below a root or, with the embedded server, below the current folder.

    The embedded worker is this user's own process and takes any path: which folder is the current
    one only its client knows, so the check is here. Raises InvalidRequest.
    """
    if not os.fspath(path):  # which would be the current folder
        raise InvalidRequest("the path is empty", f"argument {argument}", "name a folder")
    absolute = os.path.abspath(os.fspath(path))
    if settings.redis is None:
        real = os.path.realpath(absolute)
        roots = [os.path.realpath(root) for root in (*settings.roots, os.getcwd())]
        if not any(real == root or real.startswith(f"{root.rstrip('/')}/") for root in roots):
            raise InvalidRequest(
                f"{absolute!r} is not below a permitted folder",
                f"argument {argument}",
                f"permitted are {', '.join(roots)}; name more with `roots`",
            )
    return absolute
