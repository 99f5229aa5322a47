"""The `redis` URL as it is written -> as it is used: a password that stands in a file comes from there.

What is in the environment of a container or on a command line can be read by many; a mounted secret by the
container alone. So ``redis://USER@HOST/0?password_file=/run/secrets/redis-password`` names the place.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from caskeeper.errors import ConfigInvalid

_REDIS_URL = re.compile(r"(?:rediss?|unix|redis\+socket)://.", re.DOTALL)
_OPTION = "password_file"
#: More than this is no password, but a mistaken file.
_LONGEST = 4096


def checked_redis_url(text: str, where: str) -> str:
    """The URL to connect with; ``where`` it was written stands in the error. Raises ConfigInvalid."""
    # Not shown, neither by us nor by who split it: it may hold a password.
    invalid = ConfigInvalid(
        "`redis` is not a URL of a Redis server",
        where,
        "give redis://HOST:PORT/DB, rediss://… or unix:///PATH; in a password write %2F for /, %40 for @",
    )
    if not _REDIS_URL.match(text):
        raise invalid
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise invalid from None
    options = parse_qsl(parts.query, keep_blank_values=True)
    files = [value for name, value in options if name == _OPTION]
    if not files:
        return text
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if colon or "password" in dict(options) or len(files) > 1:
        raise ConfigInvalid("`redis` has more than one password", where, "keep `password_file` alone")
    password = _password(files[0], where)
    rest = urlencode([(name, value) for name, value in options if name != _OPTION], safe="/")
    if parts.scheme in {"unix", "redis+socket"} and not at:
        host = parts.netloc
    return urlunsplit((parts.scheme, f"{user}:{quote(password, safe='')}@{host}", parts.path, rest, ""))


def _password(path: str, where: str) -> str:
    """The file's one line, without the end of the line."""
    way_out = "name a readable file that holds the password of Redis in one line"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
    except (OSError, ValueError) as trouble:
        reason = trouble.strerror if isinstance(trouble, OSError) and trouble.strerror else "it is no text"
        raise ConfigInvalid(
            f"the password of Redis cannot be read from {path[:300]!r}: {reason}", where, way_out
        ) from trouble
    password = text.rstrip("\r\n")
    if not password or len(text) > _LONGEST or "\n" in password:
        raise ConfigInvalid(f"{path[:300]!r} does not hold one line with a password", where, way_out)
    return password
