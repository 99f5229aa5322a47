"""A remote as an argument writes it: a URL, or BuildStream 2's ``key=value,…`` (section 22)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from caskeeper.config.node import suggestion
from caskeeper.config.remote_spec import INDEXES, TYPES, RemoteSpec, distinct
from caskeeper.errors import InvalidRequest
from caskeeper.roots import below_roots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FILES = ("server-cert", "client-key", "client-cert", "access-token")
_KEYS = ("url", "type", "push", "instance-name", "index", *_FILES)
_CHOICES = {"type": TYPES, "index": INDEXES, "push": ("true", "false", "True", "False")}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SPOKEN = re.compile(r"https?://", re.IGNORECASE)
_USER_PART = re.compile(r"//[^/?#,]*@")


def parse_remote_argument(text: str, *, push: bool = True, where: str = "remote") -> RemoteSpec:
    """The remote that ``text`` writes; ``push`` is what holds when it does not say (D-16).

    Raises InvalidRequest naming the problem.
    """
    place = f"{where} {_shown(text)!r}"
    text = text.strip()
    if not text:
        raise InvalidRequest("the remote is empty", where, "give a URL")
    if _is_url(text):
        if "," in text:
            raise InvalidRequest("a URL is followed by options", place, "write url=URL,key=value,…")
        given = {"url": text}
    else:
        given = _pairs(text, place)
    _check(given, place)
    return RemoteSpec(
        given["url"],
        given["push"].lower() == "true" if "push" in given else push,
        given.get("server-cert") or None,
        given.get("client-key") or None,
        given.get("client-cert") or None,
        given.get("instance-name") or None,
        type=given.get("type", "all"),
        index=given.get("index", "auto"),
        access_token=given.get("access-token") or None,
        where=place,
    )


def absolute_remote_argument(text: str, *, folder: str) -> str:
    """The argument as a worker understands it: file paths absolute, `~` replaced, checked here already.

    Raises InvalidRequest.
    """
    parse_remote_argument(text)
    text = text.strip()
    if _is_url(text):
        return text
    given = _pairs(text, "remote")
    for key in _FILES:
        if given.get(key):
            given[key] = os.path.abspath(os.path.join(folder, os.path.expanduser(given[key])))
            if "," in given[key]:
                raise InvalidRequest("a path with a comma cannot stand in a remote", f"remote {key}")
    return ",".join(f"{key}={value}" for key, value in given.items())


def chosen_specs(
    configured: Sequence[RemoteSpec],
    arguments: Iterable[str],
    *,
    push: bool = True,
    roots: Sequence[str] | None = None,
) -> tuple[RemoteSpec, ...]:
    """The remotes that arguments name, in their order.

    A configured URL means its specs with their credentials; everything else is parsed, and may name
    files below ``roots`` only: a request must not send any file of a worker's to where it likes. Raises
    InvalidRequest.
    """
    chosen: list[RemoteSpec] = []
    for text in arguments:
        known = [spec for spec in configured if spec.url == text.strip()]
        if not known:
            known = [parse_remote_argument(text, push=push)]
            for key, path in known[0].files.items() if roots is not None else ():
                below_roots(path, roots or (), where=f"remotes: {key}")
        chosen += known
    return distinct(chosen)


def _is_url(text: str) -> bool:
    return bool(_SCHEME.match(text)) or "=" not in text


def _shown(text: str) -> str:
    """For a message: without what may be a password."""
    return _USER_PART.sub("//***@", text)[:200]


def _check(given: Mapping[str, str], place: str) -> None:
    """That the options of a remote go together. Raises InvalidRequest."""
    if not given.get("url"):
        raise InvalidRequest("the key `url` is missing or empty", place, "add url=URL")
    if _USER_PART.search(given["url"]):
        raise InvalidRequest("the URL holds a user name", place, "take it out, and name credential files")
    if not _SPOKEN.match(given["url"]):
        raise InvalidRequest("the URL has a scheme that is not supported", place, "write http:// or https://")
    for key, choices in _CHOICES.items():
        if key in given and given[key] not in choices:
            raise InvalidRequest(
                f"`{key}` cannot be {given[key][:80]!r}", place, f"give one of {', '.join(choices)}"
            )
    if given.get("type") == "storage" and given.get("index", "auto") != "auto":
        raise InvalidRequest("a remote of type=storage has no index", place, "take out `index` or `type`")
    for name, other in (("client-key", "client-cert"), ("client-cert", "client-key")):
        if given.get(name) and not given.get(other):
            raise InvalidRequest(f"`{name}` is given without `{other}`", place, f"give `{other}` too")


def _pairs(text: str, place: str) -> dict[str, str]:
    """The options by key."""
    given: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise InvalidRequest(
                f"{_shown(pair)[:80]!r} is not key=value", place, "write url=URL,key=value,…"
            )
        if name not in _KEYS:
            raise InvalidRequest(f"unknown key `{name[:80]}`", place, suggestion(name, list(_KEYS)))
        if name in given:
            raise InvalidRequest(f"the key `{name}` stands twice", place, "give it once")
        given[name] = value
    return given
