"""Configuration file and environment -> Settings (interface sections 1 and 4).

The environment wins over the file. An empty variable counts as not set, as compose files pass them.
Every error is a ConfigInvalid with the place of the value: file, line, column, or the variable's name.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from caskeeper.config.document import parse_document, read_document
from caskeeper.config.durations import parse_duration
from caskeeper.config.keys import (
    IGNORED,
    KEYS,
    MODERN_CACHE_KEYS,
    MODERN_KEYS,
    PREFIX,
    PROJECT_KEYS,
    STRUCTURED,
    variable,
    variables,
)
from caskeeper.config.node import (
    ListNode,
    MappingNode,
    Provenance,
    ScalarNode,
    close_matches,
    read_bool,
    read_choice,
    read_mapping,
    read_text,
    refuse_unknown_keys,
)
from caskeeper.config.places import default_config_path, expand, user_folder
from caskeeper.config.quota import QuotaExpression, percentage
from caskeeper.config.redis_url import checked_redis_url
from caskeeper.config.remote_spec import Precedence, RemoteList
from caskeeper.config.remotes import remote_list
from caskeeper.config.settings import (
    LOG_FORMATS,
    LOG_LEVELS,
    CacheSettings,
    EmbeddedSettings,
    LeaseSettings,
    LogSettings,
    MetricsSettings,
    NamedFile,
    QueueSettings,
    ServerSettings,
    Settings,
)
from caskeeper.config.sizes import parse_size
from caskeeper.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caskeeper.config.node import Node

_LISTEN = re.compile(r"(?:\[[^][]+\]|[^][:]+):(?P<port>[0-9]{1,5})", re.ASCII)


def load_settings(path: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from ``path``, else $CASKEEPER_CONFIG, else the user's configuration folder.

    Only the last may be missing. Raises ConfigInvalid.
    """
    environ = os.environ if environ is None else environ
    named = path or environ.get("CASKEEPER_CONFIG") or None
    file = named or default_config_path(environ) or ""
    document = read_document(file) if file else None
    if named and document is None:
        raise ConfigInvalid(
            "there is no such file", named, "name an existing one with --config or CASKEEPER_CONFIG"
        )
    place = os.path.abspath(file) if file else ""  # for processes that start in another folder
    loader = _Loader(document or MappingNode(Provenance(file), {}), environ)
    return loader.settings(source="" if document is None else place, config_file=place)


class _Loader:
    """One pass over one configuration."""

    def __init__(self, document: MappingNode, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._document = document
        self._ignored: list[str] = []
        self._modern_remotes = False
        # Beside its file: a relative path must mean the same to every process that reads it.
        self._folder = os.path.dirname(os.path.abspath(document.where.file))

    def settings(self, *, source: str, config_file: str) -> Settings:
        self._check_keys()
        cachedir = self._cachedir()
        artifacts = remote_list(self._value("artifacts"), environ=self._environ)
        projects = self._projects()
        self._modern_remotes = artifacts.modern or any(own.modern for own in projects.values())
        return Settings(
            cachedir=cachedir,
            redis=self._redis(),
            roots=self._roots(),
            cache=self._cache(),
            leases=self._leases(),
            log=LogSettings(
                read_choice(self._value("log", "level"), "level", LOG_LEVELS, default="info"),
                read_choice(self._value("log", "format"), "format", LOG_FORMATS, default="text"),
            ),
            embedded=EmbeddedSettings(self._seconds("embedded", "idle", EmbeddedSettings().idle_s)),
            server=self._server(),
            queue=self._queue(),
            metrics=MetricsSettings(*self._listen("metrics")),
            artifacts=artifacts.specs,
            projects={name: own.specs for name, own in projects.items()},
            precedence=Precedence.of(artifacts, projects),
            source=source,
            config_file=config_file,
            notes=self._notes(source),
        )

    def _check_keys(self) -> None:
        """No key that nobody knows; sections are mappings. What BuildStream alone reads is remembered."""
        self._refuse(self._document, "", KEYS)
        for section, names in KEYS.items():
            if names:
                mapping = read_mapping(self._document.members.get(section), section)
                if mapping is not None:
                    self._refuse(mapping, section, names)

    def _refuse(
        self, mapping: MappingNode, section: str, known: Mapping[str, object] | tuple[str, ...]
    ) -> None:
        ignored = IGNORED.get(section.partition(":")[0], frozenset())
        refuse_unknown_keys(mapping, known, section=section, ignored=ignored)
        prefix = f"{section}: " if section else ""
        self._ignored += [prefix + key for key in mapping.members if key in ignored]

    def _value(self, *path: str) -> Node | None:
        """The value of a key: the environment's, else the file's, else None."""
        name = variable(*path)
        text = self._environ.get(name, "").strip()
        if text:
            file = f"environment variable {name}"
            if path[0] in STRUCTURED:
                return parse_document(text, file)
            return ScalarNode(Provenance(file), text)
        node: Node | None = self._document
        for key in path:
            node = node.members.get(key) if isinstance(node, MappingNode) else None
        return node

    def _text(self, *path: str) -> tuple[str | None, str]:
        """The text of a value, and where it stands."""
        node = self._value(*path)
        return read_text(node, path[-1]), "" if node is None else str(node.where)

    def _path(self, node: Node, name: str) -> str | None:
        text = read_text(node, name)
        if text is None:
            return None
        from_file = node.where.line > 0
        base = self._folder if from_file else os.getcwd()
        return expand(text, self._environ, base=base, where=str(node.where))

    def _cachedir(self) -> str:
        node = self._value("cachedir")
        path = None if node is None else self._path(node, "cachedir")
        if node is not None and path is not None:
            return _utf8(path, str(node.where))
        folder = user_folder("XDG_CACHE_HOME", self._environ)
        if folder is None:
            raise ConfigInvalid(
                "there is no `cachedir`, and no home folder for its default",
                self._document.where.file,
                "set `cachedir` or CASKEEPER_CACHEDIR",
            )
        return _utf8(os.path.join(folder, "caskeeper"), self._document.where.file)

    def _redis(self) -> str | None:
        text, where = self._text("redis")
        return checked_redis_url(text, where) if text else None

    def _roots(self) -> tuple[str, ...]:
        """A list, or one path; in the environment several paths with colons between."""
        node = self._value("roots")
        if node is None:
            return ()
        nodes: tuple[Node, ...] = node.items if isinstance(node, ListNode) else (node,)
        if isinstance(node, ScalarNode) and node.where.line == 0:
            nodes = tuple(ScalarNode(node.where, text) for text in node.text.split(":") if text)
        found = [self._path(item, "roots") for item in nodes]
        return tuple(dict.fromkeys(path for path in found if path is not None))

    def _cache(self) -> CacheSettings:
        default = CacheSettings()
        quota, quota_where = self._text("cache", "quota")
        headroom, headroom_where = self._text("cache", "headroom")
        return CacheSettings(
            quota=default.quota if quota is None else QuotaExpression.parse(quota, quota_where),
            low_watermark=self._low_watermark(default.low_watermark),
            reserved_disk_space=self._reserved_disk_space(default.reserved_disk_space),
            headroom_bytes=None if headroom is None else parse_size(headroom, headroom_where),
            pull_buildtrees=read_bool(
                self._value("cache", "pull-buildtrees"), "pull-buildtrees", default=default.pull_buildtrees
            ),
            modern=any(self._value("cache", key) is not None for key in MODERN_CACHE_KEYS)
            or any(key in self._document.members for key in MODERN_KEYS)
            or self._modern_remotes,
        )

    def _low_watermark(self, default: float) -> float:
        text, where = self._text("cache", "low-watermark")
        if text is None:
            return default
        fraction = percentage(text)
        if fraction is None:
            raise ConfigInvalid(
                f"`low-watermark` cannot be {text[:80]!r}", where, "give 0% to 100%, such as 50%"
            )
        return fraction[0] / fraction[1]

    def _reserved_disk_space(self, default: QuotaExpression) -> QuotaExpression:
        text, where = self._text("cache", "reserved-disk-space")
        if text is None:
            return default
        expression = QuotaExpression.parse(text, where)
        if expression.is_infinity:
            raise ConfigInvalid(
                "`reserved-disk-space` cannot be infinity", where, "give bytes or a percentage, such as 5%"
            )
        return expression

    def _seconds(self, section: str, key: str, default: float) -> float:
        text, where = self._text(section, key)
        return default if text is None else parse_duration(text, where)

    def _leases(self) -> LeaseSettings:
        default = LeaseSettings()
        found = LeaseSettings(
            operation_s=self._seconds("leases", "operation", default.operation_s),
            operation_life_s=self._seconds("leases", "operation-life", default.operation_life_s),
            session_s=self._seconds("leases", "session", default.session_s),
            clock_margin_s=self._seconds("leases", "clock-margin", default.clock_margin_s),
            upload_grace_s=self._seconds("leases", "upload-grace", default.upload_grace_s),
        )
        for key, value in (("operation", found.operation_s), ("session", found.session_s)):
            if value <= 0:
                _, where = self._text("leases", key)
                raise ConfigInvalid(f"the lease `{key}` must be longer than 0", where, "give 60s or the like")
        if found.operation_life_s < found.operation_s:
            _, where = self._text("leases", "operation-life")
            _, other = self._text("leases", "operation")
            raise ConfigInvalid(
                "`operation-life` is shorter than `operation`", where or other, "give 6h or the like"
            )
        return found

    def _queue(self) -> QueueSettings:
        default = QueueSettings()
        text, where = self._text("queue", "max-transfers")
        if text is not None and not re.fullmatch(r"[1-9][0-9]{0,5}", text, re.ASCII):
            raise ConfigInvalid(
                f"`max-transfers` cannot be {text[:80]!r}", where, "give 1 or more, such as 8"
            )
        budget_s = self._seconds("queue", "job-budget", default.job_budget_s)
        if budget_s <= 0:
            _, where = self._text("queue", "job-budget")
            raise ConfigInvalid("`job-budget` must be longer than 0", where, "give 1h or the like")
        return QueueSettings(default.max_transfers if text is None else int(text), budget_s)

    def _listen(self, section: str) -> tuple[str | None, str]:
        """An address to listen on, and where it stands."""
        listen, where = self._text(section, "listen")
        match = _LISTEN.fullmatch(listen or "")
        if listen and (match is None or int(match["port"]) > 65535):
            raise ConfigInvalid(
                f"{listen[:100]!r} is not an address to listen on",
                where,
                "give HOST:PORT, for example 127.0.0.1:11001; port 0 takes any free one",
            )
        return listen or None, where

    def _server(self) -> ServerSettings:
        return ServerSettings(
            listen=self._listen("server")[0],
            tls_key=self._file("server", "tls-key"),
            tls_cert=self._file("server", "tls-cert"),
            client_ca=self._file("server", "client-ca"),
            token_file=self._file("server", "token-file"),
        )

    def _file(self, *path: str) -> NamedFile | None:
        node = self._value(*path)
        found = None if node is None else self._path(node, path[-1])
        return None if node is None or found is None else NamedFile(found, str(node.where))

    def _projects(self) -> dict[str, RemoteList]:
        mapping = read_mapping(self._value("projects"), "projects")
        found: dict[str, RemoteList] = {}
        for name, node in mapping.members.items() if mapping is not None else ():
            project = read_mapping(node, name)
            if project is None:
                continue
            self._refuse(project, f"projects: {name}", PROJECT_KEYS)
            found[name] = remote_list(project.members.get("artifacts"), environ=self._environ)
        return found

    def _notes(self, source: str) -> tuple[str, ...]:
        """What was passed over: other programs' keys, and variables that look like a slip."""
        notes = []
        if self._ignored:
            keys = ", ".join(f"`{key}`" for key in dict.fromkeys(self._ignored))
            notes.append(f"{source or 'environment'}: ignored, as only BuildStream reads them: {keys}")
        known = [name.removeprefix(PREFIX) for name in variables()]
        for name in sorted(self._environ):
            # No error: whoever runs containers sets names like CASKEEPER_PORT for purposes of its own.
            if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known:
                for guess in close_matches(name.removeprefix(PREFIX), known):
                    notes.append(f"environment variable {name} is no setting: did you mean {PREFIX}{guess}?")
                    break
        return tuple(notes)


def _utf8(path: str, where: str) -> str:
    """Raises ConfigInvalid for bytes that are no text: such a path can neither be sent nor stored."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigInvalid(
            f"the path {ascii(path)[:200]} is not UTF-8", where, "set `cachedir` to a folder with such a name"
        ) from None
    return path
