"""Remote specs: reading them, and which ones a project uses (AC-8 to AC-16).

``specs_from_node`` is the one door for what stands under `artifacts:`; a further form of it is told
apart there and nowhere else.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from caskeeper.config.node import (
    ListNode,
    MappingNode,
    read_bool,
    read_text,
    refuse_unknown_keys,
    suggestion,
)
from caskeeper.errors import ConfigInvalid, InvalidRequest, Permanent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caskeeper.config.node import Node

_KEYS = ("url", "push", "server-cert", "client-key", "client-cert", "instance-name", "instance_name")
_ARGUMENT_KEYS = ("url", "type", "push", "server-cert", "client-key", "client-cert", "instance-name")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class RemoteSpec(NamedTuple):
    """One configured server; equal only when every field is (AC-8, AC-16)."""

    url: str
    push: bool = False
    server_cert: str | None = None
    client_key: str | None = None
    client_cert: str | None = None
    instance_name: str | None = None


def specs_from_node(node: Node | None, basedir: str | None = None) -> tuple[RemoteSpec, ...]:
    """What stands under `artifacts:`, in order of priority (AC-9). Raises ConfigInvalid.

    Certificate paths are joined to ``basedir`` (a project's folder); without one they stay as written.
    """
    if node is None:
        return ()
    items = node.items if isinstance(node, ListNode) else (node,)
    return tuple(_spec(_mapping(item), basedir) for item in items)


def _mapping(node: Node) -> MappingNode:
    if not isinstance(node, MappingNode):
        raise ConfigInvalid(
            "`artifacts` must be one mapping with a `url`, or a list of such mappings",
            str(node.where),
            "write `artifacts: {url: …}` or `artifacts: [{url: …}, …]`",
        )
    return node


def _spec(mapping: MappingNode, basedir: str | None) -> RemoteSpec:
    """One spec; the order of the checks is AC-10's."""
    refuse_unknown_keys(mapping, _KEYS, section="artifacts")
    members = mapping.members
    if "url" not in members:
        raise ConfigInvalid("a remote misses the key `url`", str(mapping.where), "add `url: …`")
    url = read_text(members["url"], "url")
    push = read_bool(members.get("push"), "push", default=False)
    if not url:
        raise ConfigInvalid("a remote has an empty `url`", str(members["url"].where), "give its URL")
    if "instance-name" in members and "instance_name" in members:
        raise ConfigInvalid(
            "`instance-name` and `instance_name` are one key", str(members["instance_name"].where), "keep one"
        )
    key, cert = (read_text(members.get(name), name) or None for name in ("client-key", "client-cert"))
    _refuse_half_pair(key, cert, where={name: str(node.where) for name, node in members.items()})
    server_cert = read_text(members.get("server-cert"), "server-cert") or None
    name = "instance-name" if "instance-name" in members else "instance_name"
    return RemoteSpec(
        url,
        push,
        _joined(basedir, server_cert),
        _joined(basedir, key),
        _joined(basedir, cert),
        read_text(members.get(name), name) or None,
    )


def _joined(basedir: str | None, path: str | None) -> str | None:
    return os.path.join(basedir, path) if basedir is not None and path is not None else path


def _refuse_half_pair(
    key: str | None, cert: str | None, *, where: Mapping[str, str], error: type[Permanent] = ConfigInvalid
) -> None:
    """AC-10.5 and AC-10.6."""
    for given, other, present, missing in (
        (key, cert, "client-key", "client-cert"),
        (cert, key, "client-cert", "client-key"),
    ):
        if given and not other:
            raise error(f"`{present}` is given without `{missing}`", where[present], f"give `{missing}` too")


def parse_remote_argument(text: str, *, push: bool = True, where: str = "remote") -> RemoteSpec:
    """A remote as an argument writes it: a bare URL, or BuildStream 2's ``key=value,…`` (section 22).

    ``push`` is what holds when the text does not say. Raises InvalidRequest naming the problem.
    """
    place = f"{where} {text[:200]!r}"
    text = text.strip()
    if not text:
        raise InvalidRequest("the remote is empty", where, "give a URL")
    if _SCHEME.match(text) or "=" not in text:
        if "," in text:
            raise InvalidRequest("a URL is followed by options", place, "write url=URL,key=value,…")
        return RemoteSpec(text, push)
    given = _pairs(text, place)
    if not given.get("url"):
        raise InvalidRequest("the key `url` is missing or empty", place, "add url=URL")
    if given.get("type", "all") != "all":
        raise InvalidRequest(
            f"the type {given['type'][:80]!r} is unknown", place, "give type=all or leave it out"
        )
    if given.get("push", "true") not in {"True", "true", "False", "false"}:
        raise InvalidRequest(
            f"`push` cannot be {given['push'][:80]!r}", place, "give push=true or push=false"
        )
    key, cert = given.get("client-key") or None, given.get("client-cert") or None
    _refuse_half_pair(key, cert, where=dict.fromkeys(given, place), error=InvalidRequest)
    return RemoteSpec(
        given["url"],
        given["push"].lower() == "true" if "push" in given else push,
        given.get("server-cert") or None,
        key,
        cert,
        given.get("instance-name") or None,
    )


def _pairs(text: str, place: str) -> dict[str, str]:
    """The options of a remote argument by key."""
    given: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise InvalidRequest(f"{pair[:80]!r} is not key=value", place, "write url=URL,key=value,…")
        if name not in _ARGUMENT_KEYS:
            raise InvalidRequest(f"unknown key `{name[:80]}`", place, suggestion(name, list(_ARGUMENT_KEYS)))
        if name in given:
            raise InvalidRequest(f"the key `{name}` stands twice", place, "give it once")
        given[name] = value
    return given


def effective_specs(*lists: Iterable[RemoteSpec]) -> tuple[RemoteSpec, ...]:
    """The lists one after the other, of equal specs the first (AC-15)."""
    return tuple(dict.fromkeys(spec for specs in lists for spec in specs))


def chosen_specs(configured: Sequence[RemoteSpec], arguments: Iterable[str]) -> tuple[RemoteSpec, ...]:
    """The remotes that arguments name, in their order.

    A configured URL means its specs with their credentials, everything else is parsed. Raises
    InvalidRequest.
    """
    chosen: list[RemoteSpec] = []
    for text in arguments:
        known = [spec for spec in configured if spec.url == text.strip()]
        chosen += known or [parse_remote_argument(text)]
    return effective_specs(chosen)
