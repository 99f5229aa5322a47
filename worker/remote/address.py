"""Where a remote is: its url taken apart (wire-protocols section 1, D-27)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from caskeeper.errors import ConfigInvalid
from worker.hosts import is_loopback

if TYPE_CHECKING:
    from caskeeper.config.remote_spec import RemoteSpec

_DEFAULT_PORTS = {"http": 80, "https": 443}
_USER = re.compile(r"//[^/?#]*@")
_KEYWORDS = frozenset(
    {"blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"}
)


class Address(NamedTuple):
    """``target`` is what gRPC connects to, ``secure`` says TLS, ``url`` is shown to people.

    ``loopback``: what is sent there does not leave this machine.
    """

    url: str
    target: str
    secure: bool
    loopback: bool = False

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host, without brackets, and port."""
        parts = urlsplit(f"//{self.target.removeprefix('dns:///')}")
        return parts.hostname or "", parts.port or 0


def shown(url: str) -> str:
    """The url without its user part, which may hold a password; fit for a message."""
    return "".join(c if c.isprintable() else "?" for c in _USER.sub("//***@", url))[:300]


def parse_url(url: str) -> Address:
    """``http[s]://host[:port]``; ports default to 80 and 443, an IPv6 literal stands in brackets.

    What a gRPC server cannot be told (path, query, fragment, user) is refused, not ignored.
    Raises ConfigInvalid naming the url.
    """
    where = f"url {shown(url)}"
    if not url or any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigInvalid("a url is empty or has white space in it", where, "write http://HOST:PORT")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as malformed:
        raise ConfigInvalid(f"a url cannot be read: {malformed}", where, "write http://HOST:PORT") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigInvalid("a url has a scheme that is not supported", where, "write http:// or https://")
    if not host:
        raise ConfigInvalid("a url names no host", where, "write http://HOST:PORT")
    if "@" in parts.netloc:
        raise ConfigInvalid("a url has a user part", where, "use client certificates instead")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConfigInvalid(
            "a url has a path, query or fragment",
            where,
            "end it after the port; a path on the server is set with `instance-name`",
        )
    if port == 0:
        raise ConfigInvalid("a url has port 0", where, "name the port the server listens on")
    bracketed = f"[{host}]" if ":" in host else host
    # With the resolver named, a host called `unix` is still a host.
    target = f"dns:///{bracketed}:{port or _DEFAULT_PORTS[parts.scheme]}"
    return Address(shown(url), target, parts.scheme == "https", is_loopback(host))


def place_of(spec: RemoteSpec, *, url: str) -> str:
    """Where an error about a spec happened: its url, and where it is configured."""
    return f"url {url}, {spec.where}" if spec.where else f"url {url}"


def checked_instance_name(name: str | None, *, url: str) -> str:
    """The instance name as it stands in requests and resource names; ConfigInvalid when it cannot."""
    if not name:
        return ""
    if any(not part or part in _KEYWORDS for part in name.split("/")):
        raise ConfigInvalid(
            f"{name[:200]!r} is not an instance name",
            f"url {url}",
            f"use segments joined by `/`, none of them empty or one of: {', '.join(sorted(_KEYWORDS))}",
        )
    return name
