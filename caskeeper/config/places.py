"""Where a user's files are, and paths as a configuration writes them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_XDG = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share"}


def home(environ: Mapping[str, str]) -> str | None:
    """The user's home folder; None for a user without one."""
    found = environ.get("HOME") or os.path.expanduser("~")
    return found if os.path.isabs(found) else None


def user_folder(name: str, environ: Mapping[str, str]) -> str | None:
    """The folder that an XDG variable names; the default below the home folder when it names none."""
    given = environ.get(name, "")
    if os.path.isabs(given):  # the XDG rules: a relative one is ignored
        return given
    base = home(environ)
    return None if base is None else os.path.join(base, _XDG[name])


def default_config_path(environ: Mapping[str, str] | None = None) -> str | None:
    """Where the configuration is looked for when nobody names one; None without a home folder."""
    folder = user_folder("XDG_CONFIG_HOME", os.environ if environ is None else environ)
    return None if folder is None else os.path.join(folder, "caskeeper.yaml")


def expand(text: str, environ: Mapping[str, str], *, base: str, where: str) -> str:
    """An absolute path: ``~``, ``$NAME`` and ``${NAME}`` are replaced, a relative one starts at ``base``.

    Raises ConfigInvalid: empty, or a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        found = user_folder(name, environ) if name in _XDG else environ.get(name)
        if found is None:
            raise ConfigInvalid(f"the variable `{name[:80]}` is not set", where, "set it, or write the path")
        return found

    path = _VARIABLE.sub(value, text)
    if path == "~" or path.startswith("~/"):
        path = (home(environ) or "~") + path[1:]
    elif path.startswith("~"):
        path = os.path.expanduser(path)
    if path.startswith("~"):
        raise ConfigInvalid(f"there is no home folder for {text[:80]!r}", where, "write the path")
    if not path or "\0" in path:
        raise ConfigInvalid("a path is empty or holds a NUL", where, "give the path of a folder")
    return os.path.abspath(os.path.join(base, path))
