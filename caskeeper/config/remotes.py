"""What stands under `artifacts:`, in the forms of both BuildStream generations (AC-9 to AC-14, section 22).

Of 2019 are one mapping, or a list of mappings. BuildStream 2 has `servers:` in the user configuration and
a list in a project's, with more keys for each server; a list may therefore hold the keys of both.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from caskeeper.config.node import (
    ListNode,
    MappingNode,
    ScalarNode,
    read_bool,
    read_choice,
    read_int,
    read_mapping,
    read_text,
    refuse_unknown_keys,
)
from caskeeper.config.places import home
from caskeeper.config.remote_arguments import parse_remote_argument
from caskeeper.config.remote_spec import INDEXES, TYPES, ConnectionConfig, RemoteList, RemoteSpec
from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.config.node import Node

_CERTIFICATES = ("server-cert", "client-key", "client-cert")
_SERVER_KEYS = ("url", "type", "push", "instance-name", "auth", "connection-config", "index")
_LIST_KEYS = (*_SERVER_KEYS, *_CERTIFICATES, "instance_name")
_SECTION_KEYS = ("servers", "override-project-caches")
_AUTH_KEYS = (*_CERTIFICATES, "access-token", "access-token-reload-interval")
_CONNECTION_KEYS = ("keepalive-time", "retry-limit", "retry-delay", "request-timeout")
_USER_PART = re.compile(r"(?:\A|//)[^/?#]*@")
_SCHEMES = ("http://", "https://")


def specs_from_node(node: Node | None, basedir: str | None = None) -> tuple[RemoteSpec, ...]:
    """What stands under `artifacts:`, in order of priority (AC-9). Raises ConfigInvalid."""
    return remote_list(node, basedir).specs


def remote_list(
    node: Node | None, basedir: str | None = None, environ: Mapping[str, str] | None = None
) -> RemoteList:
    """The same with what its form says about precedence.

    Paths are joined to ``basedir`` (a project's folder); without one they stay as written (AC-12), but
    for a leading `~` below `auth`. Raises ConfigInvalid.
    """
    if node is None:
        return RemoteList()
    reader = _Reader(basedir, os.environ if environ is None else environ)
    if isinstance(node, MappingNode) and any(key in node.members for key in _SECTION_KEYS):
        return reader.section(node)
    items = node.items if isinstance(node, ListNode) else (node,)
    return RemoteList(tuple(reader.entry(item) for item in items))


class _Reader:
    """One section; the order of the checks in each server is AC-10's."""

    def __init__(self, basedir: str | None, environ: Mapping[str, str]) -> None:
        self._basedir = basedir
        self._environ = environ

    def section(self, mapping: MappingNode) -> RemoteList:
        """`artifacts: {override-project-caches: …, servers: […]}`."""
        for key in mapping.members:
            if key in _LIST_KEYS:
                raise ConfigInvalid(
                    f"`{key}` stands beside `servers`",
                    str(mapping.members[key].where),
                    "move it into an item of `servers`",
                )
        refuse_unknown_keys(mapping, _SECTION_KEYS, section="artifacts")
        overrides = read_bool(
            mapping.members.get("override-project-caches"), "override-project-caches", default=False
        )
        servers = mapping.members.get("servers")
        if servers is None:
            return RemoteList(modern=True, overrides=overrides)
        if not isinstance(servers, ListNode):
            raise ConfigInvalid(
                "`servers` must be a list of mappings with a `url`",
                str(servers.where),
                "write `servers: [{url: …}, …]`",
            )
        return RemoteList(
            tuple(self._server(item) for item in servers.items), modern=True, overrides=overrides
        )

    def entry(self, node: Node) -> RemoteSpec:
        """One mapping of the form of 2019, or of a project configuration of either generation."""
        mapping = _mapping(
            node,
            "`artifacts` must be one mapping with a `url`, or a list of such mappings",
            "write `artifacts: {url: …}`, `artifacts: [{url: …}, …]` or `artifacts: {servers: […]}`",
        )
        refuse_unknown_keys(mapping, _LIST_KEYS, section="artifacts")
        return self._spec(mapping)

    def _server(self, node: Node) -> RemoteSpec:
        mapping = _mapping(node, "an item of `servers` must be a mapping with a `url`", "write `- url: …`")
        for key in _CERTIFICATES:
            if key in mapping.members:
                raise ConfigInvalid(
                    f"`{key}` stands beside the `url` of a server",
                    str(mapping.members[key].where),
                    f"write `auth: {{{key}: …}}`",
                )
        refuse_unknown_keys(mapping, _SERVER_KEYS, section="servers")
        return self._spec(mapping)

    def _spec(self, mapping: MappingNode) -> RemoteSpec:
        members = mapping.members
        if "url" not in members:
            raise ConfigInvalid("a remote misses the key `url`", str(mapping.where), "add `url: …`")
        url = read_text(members["url"], "url")
        push = read_bool(members.get("push"), "push", default=False)
        if not url:
            raise ConfigInvalid("a remote has an empty `url`", str(members["url"].where), "give its URL")
        if _USER_PART.search(url):
            # Not shown: it may hold a password.
            raise ConfigInvalid(
                "`url` holds a user name", str(members["url"].where), "take it out, and use `auth`"
            )
        credentials = self._credentials(mapping)
        kind = read_choice(members.get("type"), "type", TYPES, default="all")
        index = read_choice(members.get("index"), "index", INDEXES, default="auto")
        if kind == "storage" and index != "auto":
            raise ConfigInvalid(
                "`index` is given for a server of `type: storage`, which has none",
                str(members["index"].where),
                "take it out, or change the `type`",
            )
        spec = RemoteSpec(
            url,
            push,
            self._path(credentials, "server-cert"),
            self._path(credentials, "client-key"),
            self._path(credentials, "client-cert"),
            _instance_name(members),
            type=kind,
            index=index,
            access_token=self._path(credentials, "access-token"),
            access_token_reload_minutes=read_int(
                credentials.members.get("access-token-reload-interval"),
                "access-token-reload-interval",
                least=1,
                unit="minutes",
            ),
            connection=_connection(members.get("connection-config")),
            where=str(mapping.where),
        )
        if not url.lower().startswith(_SCHEMES):  # last: the mistakes of AC-10 come first
            raise ConfigInvalid(
                f"`url` cannot be {url[:80]!r}",
                str(members["url"].where),
                "start it with http:// or https://",
            )
        return spec

    def _credentials(self, mapping: MappingNode) -> MappingNode:
        """The mapping that names the files: `auth`, or in the form of 2019 the server's own."""
        auth = read_mapping(mapping.members.get("auth"), "auth")
        beside = next((key for key in _CERTIFICATES if key in mapping.members), None)
        if auth is None:
            found = MappingNode(
                mapping.where, {key: node for key, node in mapping.members.items() if key in _CERTIFICATES}
            )
        elif beside is None:
            refuse_unknown_keys(auth, _AUTH_KEYS, section="auth")
            found = MappingNode(
                auth.where, {key: self._at_home(key, node) for key, node in auth.members.items()}
            )
        else:
            raise ConfigInvalid(
                f"`{beside}` stands beside `auth`", str(mapping.members[beside].where), "move it into `auth`"
            )
        _refuse_half_pair(found)
        return found

    def _at_home(self, key: str, node: Node) -> Node:
        """Below `auth` a leading `~` is the user's home folder."""
        if not isinstance(node, ScalarNode) or not (node.text == "~" or node.text.startswith("~/")):
            return node
        folder = home(self._environ)
        if folder is None:
            raise ConfigInvalid(
                f"there is no home folder for `{key}`", str(node.where), "write the whole path"
            )
        return ScalarNode(node.where, folder + node.text[1:])

    def _path(self, credentials: MappingNode, key: str) -> str | None:
        path = read_text(credentials.members.get(key), key) or None
        if path is None or self._basedir is None:
            return path
        return os.path.join(self._basedir, path)


def _mapping(node: Node, what: str, way_out: str) -> MappingNode:
    if not isinstance(node, MappingNode):
        raise ConfigInvalid(what, str(node.where), way_out)
    return node


def _refuse_half_pair(credentials: MappingNode) -> None:
    """AC-10.5 and AC-10.6."""
    members = credentials.members
    given = {name: read_text(members.get(name), name) for name in ("client-key", "client-cert")}
    for name, other in (("client-key", "client-cert"), ("client-cert", "client-key")):
        if given[name] and not given[other]:
            raise ConfigInvalid(
                f"`{name}` is given without `{other}`", str(members[name].where), f"give `{other}` too"
            )


def _instance_name(members: Mapping[str, Node]) -> str | None:
    if "instance-name" in members and "instance_name" in members:
        raise ConfigInvalid(
            "`instance-name` and `instance_name` are one key", str(members["instance_name"].where), "keep one"
        )
    name = "instance-name" if "instance-name" in members else "instance_name"
    return read_text(members.get(name), name) or None


def _connection(node: Node | None) -> ConnectionConfig:
    """0 stands for off, as in BuildStream, where an interval or a deadline is meant."""
    mapping = read_mapping(node, "connection-config")
    if mapping is None:
        return ConnectionConfig()
    refuse_unknown_keys(mapping, _CONNECTION_KEYS, section="connection-config")
    members = mapping.members
    return ConnectionConfig(
        keepalive_time_s=read_int(members.get("keepalive-time"), "keepalive-time", unit="seconds") or None,
        retry_limit=read_int(members.get("retry-limit"), "retry-limit", unit="retries"),
        retry_delay_ms=read_int(members.get("retry-delay"), "retry-delay", unit="milliseconds"),
        request_timeout_s=read_int(members.get("request-timeout"), "request-timeout", unit="seconds") or None,
    )


__all__ = ["RemoteSpec", "parse_remote_argument", "remote_list", "specs_from_node"]
